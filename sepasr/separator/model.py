"""A separator from waveform to waveforms: encoder, mask network, decoder and the level rule."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from espnet2.enh.decoder.conv_decoder import ConvDecoder
from espnet2.enh.encoder.conv_encoder import ConvEncoder
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from sepasr.data.audio import resample
from sepasr.errors import UserError
from sepasr.files import atomic_path, write_text
from sepasr.models import load_strictly
from sepasr.separator.tdconformer import TDConformer

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True)
class SeparatorConfig:
    """The shape of a TD-Conformer separator; ``conf/separator/*.yaml`` names the published ones.

    Attributes:
        channels: channels of the learnt filterbanks.
        kernel: their length in samples.
        stride: their hop in samples.
        num_speakers: speakers to separate.
        width, hidden, heads, layers, depthwise_kernel, subsamplings, dropout, attention_dropout:
            see :class:`sepasr.separator.tdconformer.TDConformer`.
        fs: sampling rate in Hz.
    """

    channels: int = 256
    kernel: int = 16
    stride: int = 8
    num_speakers: int = 2
    width: int = 128
    hidden: int = 128
    heads: int = 8
    layers: int = 8
    depthwise_kernel: int = 64
    subsamplings: int = 1
    dropout: float = 0.1
    attention_dropout: float = 0.1
    fs: int = 16000

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UserError(f"width {self.width} can't be divided among {self.heads} heads")
        if not 0 < self.stride <= self.kernel:
            raise UserError(f"stride {self.stride} is not between 1 and the kernel {self.kernel}")


@dataclass(frozen=True)
class Provenance:
    """How a checkpoint came about.

    Attributes:
        reference: what the training references were, ``anechoic`` or ``reverb``.
        history: one entry per training, the first one first: its loss, encoder, seed, steps and
            learning rate.
    """

    reference: str | None = None
    history: tuple[dict[str, Any], ...] = ()


def match_level(estimates: Tensor, mixture: Tensor) -> Tensor:
    """Scale estimates by one gain per mixture so that their sum fits the mixture best.

    SI-SDR leaves the scale of the estimates free, recognisers and embeddings do not. The gain is
    the least-squares one, g = <x, sum_c e_c> / |sum_c e_c|^2. It may be negative: SI-SDR leaves the
    sign free as well, and a recogniser that hears raw waveforms doesn't. Where the sum is silent
    the gain is 1: there is nothing to fit.

    Args:
        estimates: (batch, speakers, samples).
        mixture: (batch, samples).

    Returns:
        The scaled estimates.
    """
    total = estimates.sum(1)
    energy = total.square().sum(-1)
    product = (mixture * total).sum(-1)
    fits = energy > 1e-10
    gain = torch.where(fits, product / torch.where(fits, energy, 1.0), 1.0)
    return estimates * gain[:, None, None]


def read_description(directory: str | Path) -> tuple[SeparatorConfig, Provenance]:
    """What the ``config.json`` of a separator's directory says; its weights are not read.

    Raises:
        UserError: there is none, or it describes something else.
    """
    directory = Path(directory)
    if not (directory / CONFIG).is_file():
        raise UserError(
            f"no {CONFIG} of a separator",
            where=directory,
            remedy="give a directory written by training or save_pretrained",
        )
    try:
        description = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        config = SeparatorConfig(**description["config"])
        return config, Provenance(description.get("reference"), tuple(description["history"]))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"does not describe a separator: {error}", where=directory / CONFIG
        ) from None


class Separator(nn.Module):
    """Separates mixtures into one waveform per speaker.

    >>> separator = Separator(SeparatorConfig(width=16, hidden=16, layers=1))
    >>> separator(torch.zeros(1, 1000)).shape
    torch.Size([1, 2, 1000])
    """

    def __init__(self, config: SeparatorConfig, provenance: Provenance | None = None) -> None:
        super().__init__()
        self.config = config
        self.provenance = provenance or Provenance()
        self.encoder = ConvEncoder(config.channels, config.kernel, config.stride)
        self.separator = TDConformer(
            config.channels,
            config.num_speakers,
            config.width,
            config.hidden,
            config.heads,
            config.layers,
            config.depthwise_kernel,
            config.subsamplings,
            config.dropout,
            config.attention_dropout,
        )
        self.decoder = ConvDecoder(config.channels, config.kernel, config.stride)

    @property
    def fs(self) -> int:
        """Sampling rate in Hz."""
        return self.config.fs

    @property
    def num_speakers(self) -> int:
        """How many speakers it separates."""
        return self.config.num_speakers

    def forward(self, mixture: Tensor, sample_rate: int | None = None) -> Tensor:
        """Separate mixtures of any length.

        Args:
            mixture: (samples,) or (batch, samples).
            sample_rate: rate of ``mixture`` in Hz where it may differ from :attr:`fs`; it is
                resampled on the way in and the estimates on the way out.

        Returns:
            (speakers, samples) or (batch, speakers, samples): as long as the mixture, at the
            mixture's level (see :func:`match_level`), float32.
        """
        if mixture.ndim == 1:
            return self.forward(mixture[None], sample_rate)[0]
        if sample_rate is not None and sample_rate != self.fs:
            estimates = self.forward(resample(mixture, sample_rate, self.fs))
            return resample(estimates, self.fs, sample_rate)[..., : mixture.shape[-1]]
        samples = mixture.shape[-1]
        # The network hears every mixture at one level (its norms have an epsilon, so a quiet
        # recording would otherwise be another signal); the output goes back to the mixture's.
        rms = mixture.square().mean(-1, keepdim=True).sqrt()
        level = torch.where(rms > 1e-8, rms, 1.0)
        stride, kernel = self.config.stride, self.config.kernel
        # Whole frames only, and as many samples to either side as the overlap of the windows, so
        # that the first and last samples are covered like all others.
        frames = -(-max(samples, 1) // stride)
        left = kernel - stride
        right = (frames - 1) * stride + kernel - samples
        padded = F.pad(mixture / level, (left, right))
        lengths = torch.full((len(mixture),), padded.shape[-1], device=mixture.device)
        encoded, frame_lengths = self.encoder(padded, lengths)
        masked, _, _ = self.separator(encoded, frame_lengths)
        streams = [self.decoder(item, lengths)[0] for item in masked]
        estimates = torch.stack(streams, dim=1)[..., left : left + samples]
        return match_level(estimates.float() * level[:, None], mixture.float())

    def save_pretrained(
        self,
        directory: str | Path,
        dtype: torch.dtype = torch.float32,
        provenance: Provenance | None = None,
    ) -> None:
        """Write ``config.json`` and ``model.safetensors``.

        Args:
            directory: made where it is missing.
            dtype: how the weights are stored; they are loaded as float32 again.
            provenance: how these weights came about, where :attr:`provenance` no longer says.
        """
        directory = Path(directory)
        tensors = {
            k: v.detach().to("cpu", dtype).contiguous() for k, v in self.state_dict().items()
        }
        with atomic_path(directory / WEIGHTS) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})
        text = json.dumps(self.description(provenance), indent=2)
        write_text(directory / CONFIG, text + "\n")

    def description(self, provenance: Provenance | None = None) -> dict[str, Any]:
        """What ``config.json`` says: the network's shape and how its weights came about."""
        return {
            "model_type": "td_conformer_separator",
            "config": asdict(self.config),
            **asdict(provenance or self.provenance),
        }

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> Separator:
        """Load what :meth:`save_pretrained` wrote, in evaluation mode, as float32.

        Raises:
            UserError: the directory holds no such model, or the weights are of another network.
        """
        separator = cls(*read_description(directory))
        separator.load_weights(Path(directory) / WEIGHTS)
        return separator.eval()

    def load_weights(self, path: str | Path) -> None:
        """Load a safetensors file strictly.

        Raises:
            UserError: the file is missing, broken, or holds the weights of another network.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError("no weights", where=path, remedy="train the separator first")
        load_strictly(self, path)
