"""One step of training: what is computed in which precision, and memory against time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_training import THRESHOLD_DB, LoudIsGood, Tones, train
from torch import Tensor, nn

from sepasr.loss.embedding import EmbeddingLoss
from sepasr.loss.loss import Loss
from sepasr.loss.signal import SignalLoss
from sepasr.separator.tdconformer import TDConformer

FS = 16000


class Frames(nn.Module):
    """An encoder that autocast would compute in bfloat16."""

    fs, name, distance = FS, "frames", "mse"

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(40, 8).requires_grad_(False)

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        frames = self.project(waveform.unfold(1, 40, 40))
        assert frames.dtype == torch.float32
        return frames, lengths // 40


@pytest.mark.parametrize("kind", ["signal", "guided", "embedding_pit", "both"])
def test_losses_are_float32_inside_autocast(kind: str) -> None:
    torch.manual_seed(0)
    references = torch.randn(2, 2, 400)
    estimates = references + 0.03 * torch.randn(2, 2, 400)  # 30 dB, which bfloat16 calls infinite
    losses = {
        "signal": SignalLoss(),
        "guided": EmbeddingLoss(Frames(), FS),
        "embedding_pit": EmbeddingLoss(Frames(), FS, guided=False),
        "both": EmbeddingLoss(Frames(), FS, signal_weight=0.1),
    }
    outside = losses[kind](estimates, references)
    with torch.autocast("cpu", torch.bfloat16):
        inside = losses[kind](estimates, references)
    assert inside.value.dtype == torch.float32
    assert torch.equal(inside.value, outside.value)


class Spy(LoudIsGood):
    """Computes each loss once more, outside autocast."""

    def __call__(
        self, estimates: Tensor, references: Tensor, lengths: Tensor | None = None
    ) -> Loss:
        assert torch.is_autocast_enabled("cpu")
        assert estimates.dtype == torch.float32
        loss = super().__call__(estimates, references, lengths)
        with torch.autocast("cpu", enabled=False):
            again = super().__call__(estimates, references, lengths)
        assert torch.equal(loss.value, again.value)
        return loss


def test_training_in_bfloat16_is_near_that_in_float32(tmp_path: Path) -> None:
    settings = {"threshold_db": THRESHOLD_DB, "steps": 2}
    tones = Tones(loud={1})
    exact = train(tmp_path / "float32", tones, **settings)
    module = train(tmp_path / "bfloat16", tones, loss=Spy(), precision="bf16-mixed", **settings)
    assert module.losses != exact.losses
    torch.testing.assert_close(module.losses, exact.losses, atol=1.0, rtol=0.0)
    assert {p.dtype for p in module.parameters()} == {torch.float32}


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_checkpointed_activations_give_the_same_gradient(dropout: float) -> None:
    torch.manual_seed(0)
    network = TDConformer(10, 2, 8, 8, 2, 3, 5, 1, dropout=dropout, attention_dropout=dropout)
    encoded = torch.randn(2, 20, 10)
    runs: list[nn.Module] = []
    for layer in network.layers:
        layer.register_forward_pre_hook(lambda layer, _: runs.append(layer))
    gradients = []
    for network.checkpoint_activations in (False, True):
        network.zero_grad()
        torch.manual_seed(1)
        network.masks(encoded).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])
    assert len(runs) == 3 + 2 * 3
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    with torch.no_grad():
        network.masks(encoded)
    assert len(runs) == 3 + 2 * 3 + 3
