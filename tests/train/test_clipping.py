"""The gradient is clipped as Lightning would, also where the optimiser is fused."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_training import TINY, Recorded, Tones, config, train

from sepasr.errors import UserError
from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import Separator
from sepasr.train.schedule import OptimizerConfig

CLIPPED = OptimizerConfig(lr=1e-3, gradient_norm=0.01)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_every_step_is_clipped(tmp_path: Path, precision: str) -> None:
    settings = {"precision": precision, "optimizer": CLIPPED, "steps": 3}
    module = train(tmp_path, Tones(), loss=SignalLoss(), **settings)
    before = torch.stack([gradient.norm() for gradient in module.gradients])
    assert (before > 0.01).all()
    left = torch.cat([p.grad.flatten() for p in module.parameters()])
    torch.testing.assert_close(left.norm(), torch.tensor(0.01), rtol=1e-3, atol=0)
    (optimizer,) = module.trainer.optimizers
    assert optimizer.defaults["fused"]


def test_scaled_gradients_are_left_to_lightning() -> None:
    module = Recorded(Separator(TINY), SignalLoss(), config(precision="16-mixed"), None)
    plugin = SimpleNamespace(scaler=torch.amp.GradScaler("cpu"))
    module.trainer = SimpleNamespace(precision_plugin=plugin)
    optimizer = module.configure_optimizers()[0][0]
    assert not optimizer.defaults["fused"]


@pytest.mark.parametrize(("scale", "ends"), [(65536.0, False), (1e-4, True)])
def test_a_scale_that_falls_without_end_ends_the_training(scale: float, ends: bool) -> None:
    module = Recorded(Separator(TINY), SignalLoss(), config(precision="16-mixed"), None)
    scaler = SimpleNamespace(is_enabled=lambda: True, get_scale=lambda: scale)
    module.trainer = SimpleNamespace(
        precision_plugin=SimpleNamespace(scaler=scaler),
        global_step=7,
        training=True,
        default_root_dir="exp",
    )
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    told = pytest.raises(UserError, match="of step 8 is not finite") if ends else nullcontext()
    with told:
        module.optimizer_step(0, 0, optimizer, lambda: None)
