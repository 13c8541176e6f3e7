"""The gradient is clipped as Lightning would, also where the optimiser is fused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_training import TINY, Recorded, Tones, config, train

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
    optimizer = module.configure_optimizers()[0][0]
    assert not optimizer.defaults["fused"]
