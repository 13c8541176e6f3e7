"""A separator as one ONNX file, for any number of mixtures of any length, or up to a limit."""

from __future__ import annotations

import json
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from espnet2.enh.encoder.conv_encoder import ConvEncoder
from torch import Tensor, nn
from torch.nn import functional as F

from sepasr.errors import UserError
from sepasr.files import atomic_path
from sepasr.separator.model import Separator, match_level
from sepasr.separator.networks import find_network
from sepasr.separator.positions import extend_positions

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4
LONGEST_FRAMES = 20_000
"""Of networks with a table of positions, which the file holds: its scores of attention would take
1.6 GB for each head."""


class TraceableSeparator(nn.Module):
    """The computation of a separator, in operations whose lengths may stay unknown.

    Two things differ from :meth:`sepasr.separator.model.Separator.forward`. ONNX divides integers
    towards zero where Python rounds down, so that no negative number is divided here. And the
    decoder isn't told its output's length: that would be a number which the graph can't know, and
    the padding already makes it come out.

    Args:
        separator: taken as it is, in evaluation mode.
    """

    def __init__(self, separator: Separator) -> None:
        super().__init__()
        self.separator = separator

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate (batch, samples) into (batch, speakers, samples)."""
        separator = self.separator
        stride, kernel = separator.config.stride, separator.config.kernel
        batch, samples = mixture.shape
        rms = mixture.square().mean(-1, keepdim=True).sqrt()
        level = torch.where(rms > 1e-8, rms, 1.0)
        left = kernel - stride
        right = (left + samples - 1) // stride * stride + kernel - left - samples
        padded = F.pad(mixture / level, (left, right))
        encoded = F.relu(separator.encoder.conv1d(padded[:, None])).transpose(1, 2)
        lengths = torch.ones(batch, dtype=torch.long) * encoded.shape[1]
        masked = separator.separator(encoded, lengths)[0]
        decode = separator.decoder.convtrans1d
        streams = [decode(item.transpose(1, 2))[:, 0] for item in masked]
        estimates = torch.stack(streams, dim=1)[..., left : left + samples]
        return match_level(estimates * level[:, None], mixture)


def export_onnx(model: str | Path, out: str | Path) -> Path:
    """Write a separator as an ONNX file, and prove it before it appears.

    Input ``mixture``, float32 (batch, samples); output ``estimates``, float32 (batch, speakers,
    samples), as :class:`sepasr.separator.model.Separator` gives them. The file's metadata hold
    ``sample_rate`` in Hz, ``num_speakers``, ``reference`` (what the training references were),
    ``min_samples`` (shorter mixtures are to be padded), ``max_samples`` (of networks that can't
    hear any length) and ``description`` (``config.json``).

    Args:
        model: directory that ``save_pretrained`` wrote.
        out: file to write.

    Returns:
        ``out``.

    Raises:
        UserError: ``model`` holds no separator, a package is missing, the network can't be
            expressed in ONNX, or onnxruntime gives another output than torch.
    """
    separator, out = Separator.from_pretrained(Path(model)), Path(out)
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        remedy = "tools/install.sh --extras onnx"
        raise UserError(f"not installed: {', '.join(missing)}", remedy=remedy)
    if not isinstance(separator.encoder, ConvEncoder):
        raise UserError(
            f"the filterbank {separator.config.filterbank} has no form in ONNX here",
            where=model,
            remedy="filterbank conv has one; --to espnet takes any",
        )
    program = _trace(separator, where=model)
    for key, value in _metadata(separator).items():
        program.model.metadata_props[key] = value
    with atomic_path(out) as temporary:
        program.save(temporary, external_data=False)
        _verify(separator, temporary, where=model)
    return out


def shortest(separator: Separator) -> int:
    """Samples of the shortest mixture that an exported file is made for.

    Shorter ones would need branches in the graph: each subsampling wants whole kernels, and two
    frames or more are to be left.
    """
    config = separator.config
    frames = 2
    for _ in range(config.subsamplings):
        frames = 2 * (frames + 1 - config.subsampling_padding)
    return max(config.kernel, config.stride * frames)


def longest(separator: Separator) -> int | None:
    """Samples of the longest mixture that an exported file is made for; None for any length.

    A graph can't let a table of positions grow: it has the length that it was given before.
    """
    config = separator.config
    network = find_network(config.network)
    if network is None or not network.positions:
        return None
    return config.stride * (LONGEST_FRAMES + 1) - config.kernel


def _trace(separator: Separator, where: str | Path) -> Any:
    limit = longest(separator)
    if limit is not None:
        extend_positions(separator.separator, LONGEST_FRAMES)
    # Any length serves as the example, but one that is a multiple of nothing in the network hides
    # no dependence on such a multiple.
    example = torch.ones(2, 8 * shortest(separator) + 3)
    dimensions = {
        0: torch.export.Dim("batch", min=1, max=1 << 16),
        1: torch.export.Dim("samples", min=shortest(separator), max=limit or 1 << 30),
    }
    # Of operators of packages that aren't here, and of how other code calls torch.
    talkative = logging.getLogger("torch.onnx")
    level = talkative.level
    try:
        talkative.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                TraceableSeparator(separator).eval(),
                (example,),
                dynamo=True,
                input_names=["mixture"],
                output_names=["estimates"],
                dynamic_shapes=(dimensions,),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause = str(error.__cause__ or error).strip().splitlines()[0]
        raise UserError(
            f"this network can't be expressed in ONNX: {cause}",
            where=where,
            remedy="--to espnet takes any network",
        ) from None
    finally:
        talkative.setLevel(level)
    assert program is not None  # it is, with dynamo
    return program


def _metadata(separator: Separator) -> dict[str, str]:
    limit = longest(separator)
    return {
        "sample_rate": str(separator.fs),
        "num_speakers": str(separator.num_speakers),
        "reference": separator.provenance.reference or "unknown",
        "min_samples": str(shortest(separator)),
        **({} if limit is None else {"max_samples": str(limit)}),
        "description": json.dumps(separator.description()),
    }


def _verify(separator: Separator, path: Path, where: str | Path) -> None:
    """Compare onnxruntime with torch, relative to the largest sample, on up to a second or so."""
    from onnxruntime import InferenceSession

    generator = torch.Generator().manual_seed(0)
    least = shortest(separator)
    session = None
    lengths = [(1, least), (1, least + 1), (3, 7 * least + 5), (1, separator.fs + 1)]
    if longest(separator) is not None:
        # Beyond the table that such a network comes with, of 5000 frames.
        lengths.append((1, 5100 * separator.config.stride))
    for batch, samples in lengths:
        mixture = 0.1 * torch.randn(batch, samples, generator=generator)
        with torch.inference_mode():
            expected = separator(mixture)
        try:
            session = session or InferenceSession(str(path), providers=["CPUExecutionProvider"])
            (found,) = session.run(["estimates"], {"mixture": mixture.numpy()})
        except Exception as error:  # noqa: BLE001 - onnxruntime has no public base class of errors
            cause = str(error).splitlines()[0]
            raise UserError(
                f"this network's form in ONNX fails on {batch} x {samples} samples: {cause}",
                where=where,
            ) from None
        worst = (torch.from_numpy(found) - expected).abs().max() / expected.abs().max()
        if not worst <= TOLERANCE:
            raise UserError(
                f"onnxruntime and torch differ by {float(worst):.1e} of the largest sample, "
                f"on {batch} x {samples} samples: the file is not written",
                where=where,
            )
