"""What each encoder of a loss is, and what it costs: the table of ``docs/encoders.md``."""

from __future__ import annotations

import gc
import os
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from statistics import median
from textwrap import shorten

import torch

from sepasr.encoder.base import AsrEncoder, EncoderConfig, build_encoder
from sepasr.encoder.published import PUBLISHED, Architecture
from sepasr.errors import UserError
from sepasr.files import write_text
from sepasr.loss.embedding import EmbeddingLoss
from sepasr.loss.signal import SignalLoss
from sepasr.models import REPOSITORY
from sepasr.report import cells
from sepasr.separator.model import Separator

BEGIN = "<!-- table of sepasr encoders: begin -->"
END = "<!-- table of sepasr encoders: end -->"
HEADER = (
    "encoder",
    "family",
    "layer",
    "weights",
    "frames per second",
    "parameters (millions)",
    "loss step / separator step",
    "gradient proven",
)
LABELS = 4
"""Columns from the left that are text."""
NOTE_WIDTH = 200
"""Characters of a cause that the page gives; the terminal gives all."""
NO_NETWORK = re.compile(r"HTTPSConnectionPool|outgoing traffic has been disabled|ConnectError")
"""What libraries say, in many words, where the hub can't be reached."""
OWN, RANDOM = "its own", "random"


@dataclass(frozen=True)
class Trial:
    """The training step that costs are compared with.

    Attributes:
        separator: its own step is a forward and backward pass with the SI-SDR loss.
        batch: mixtures of a step.
        seconds: of each mixture.
        repeats: pairs of measurements, after one that isn't counted.
    """

    separator: Separator
    batch: int = 8
    seconds: float = 2.0
    repeats: int = 5

    def __post_init__(self) -> None:
        if self.batch < 1 or self.repeats < 1 or self.seconds <= 0:
            raise UserError("batch, seconds and repeats are above 0")


@dataclass(frozen=True)
class EncoderRow:
    """An encoder that was tried.

    Attributes:
        conf: its configuration.
        weights: ``OWN``; ``RANDOM`` in a network of the same shape; None where none was had.
        frames_per_second: rate of its frames.
        parameters: of what the loss runs, layers above the highest that it compares left out.
        cost: time of a loss step, by that of the separator's own step.
        cause: why the encoder or its cost is missing; None where there are both.
    """

    conf: EncoderConfig
    weights: str | None = None
    frames_per_second: float | None = None
    parameters: int | None = None
    cost: float | None = None
    cause: str | None = None


def try_encoder(
    conf: EncoderConfig,
    trial: Trial,
    *,
    random: bool = False,
    published: Mapping[str, Architecture] = PUBLISHED,
) -> EncoderRow:
    """Build an encoder, with the proofs of that, and measure it.

    Args:
        conf: the encoder.
        trial: what its cost is compared with.
        random: take a network of the same shape with random weights where the model isn't at hand
            and its shape is known.
        published: shapes by name of the model.

    Returns:
        The row; a model that can't be had, or can't take the trial, is one with a cause.
    """
    weights = OWN
    try:
        try:
            encoder = build_encoder(conf)
        except UserError:
            if not random or conf.model not in published:
                raise
            weights = RANDOM
            with _random(conf, published[conf.model]) as stand_in:
                encoder = build_encoder(stand_in)
    except UserError as error:
        return EncoderRow(conf, cause=_cause(error))
    cost = cause = None
    try:
        cost = relative_cost(encoder, trial)
    except UserError as error:
        cause = _cause(error)
    row = EncoderRow(
        conf,
        weights,
        frames_per_second(encoder),
        sum(parameter.numel() for parameter in encoder.model.parameters()),
        cost,
        cause,
    )
    del encoder
    gc.collect()  # gigabytes, before the next one is loaded
    return row


def _cause(error: UserError) -> str:
    """On one line, with places as seen from the repository."""
    return str(error).replace(f"{REPOSITORY}/", "")


@contextmanager
def _random(conf: EncoderConfig, architecture: Architecture) -> Iterator[EncoderConfig]:
    """The same configuration with a directory of random weights in the model's place."""
    with tempfile.TemporaryDirectory() as folder:
        architecture.save_random(Path(folder))
        yield replace(conf, model=folder, revision=None)


def frames_per_second(encoder: AsrEncoder) -> float:
    """Frames that one more second brings."""
    one, two = encoder.model.frame_lengths(torch.tensor([1, 2]) * encoder.fs).tolist()
    return two - one


def relative_cost(encoder: AsrEncoder, trial: Trial) -> float:
    """Time of a loss step by that of the separator's own step: the median over pairs.

    A loss step is the encoder's forward pass over references and estimates and the backward pass to
    the estimates; it comes on top of the separator's own step. The two are measured in turn, so
    that what slows the machine slows both.

    Raises:
        UserError: the encoder can't take mixtures of that length.
    """
    separator = trial.separator.train()
    samples = round(trial.seconds * separator.fs)
    generator = torch.Generator().manual_seed(0)
    shape = (trial.batch, separator.num_speakers, samples)
    references = 0.05 * torch.randn(shape, generator=generator)
    mixture = references.sum(1)
    estimates = (references.flip(1) + mixture[:, None]).requires_grad_()
    signal, embedding = SignalLoss(), EmbeddingLoss(encoder, separator.fs)

    def own_step() -> None:
        signal(separator(mixture), references).value.mean().backward()
        separator.zero_grad()

    def loss_step() -> None:
        embedding(estimates, references).value.mean().backward()
        estimates.grad = None

    own_step()
    loss_step()
    return median(_seconds(loss_step) / _seconds(own_step) for _ in range(trial.repeats))


def _seconds(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def markdown_table(rows: Sequence[EncoderRow]) -> str:
    """The table, then what is to be said of its rows."""
    parts = [cells.markdown_table(HEADER, [_cells(row) for row in rows], LABELS)]
    if any(row.weights == RANDOM for row in rows):
        parts.append(
            "Random weights: the model was not at hand, and a network of its shape took its place."
        )
    for heading, at_hand in (("Not at hand", False), ("Cost not measured", True)):
        causes = [
            f"- {row.conf.name}: {short_cause(row.cause)}"
            for row in rows
            if row.cause and (row.weights is not None) == at_hand
        ]
        if causes:
            parts.append(f"{heading}:\n\n" + "\n".join(causes))
    return "\n\n".join(parts) + "\n"


def short_cause(cause: str) -> str:
    """A cause for the page.

    >>> short_cause("hubert_base: can't be loaded by s3prl: HTTPSConnectionPool(host='...')")
    "hubert_base: can't be loaded by s3prl: no network"
    """
    if NO_NETWORK.search(cause):
        cause = ": ".join([*cause.split(": ")[:2], "no network"])
    return shorten(cause, NOTE_WIDTH, placeholder=" ...")


def _cells(row: EncoderRow) -> list[str]:
    return [
        row.conf.name,
        row.conf.family,
        layer_text(row.conf.layer),
        row.weights or "not at hand",
        _figure(row.frames_per_second, "g"),
        _figure(None if row.parameters is None else row.parameters / 1e6, ".1f"),
        _figure(row.cost, ".2f"),
        "yes" if row.weights else cells.MISSING,
    ]


def _figure(value: float | None, form: str) -> str:
    return cells.MISSING if value is None else f"{value:{form}}"


def layer_text(layer: int | str | Sequence[int | str] | Mapping[int | str, float]) -> str:
    """``EncoderConfig.layer`` for a table.

    >>> layer_text({6: 0.25, "last": 0.75})
    '0.25 x 6 + 0.75 x last'
    >>> layer_text([6, 9, "last"])
    '6, 9, last'
    """
    if isinstance(layer, Mapping):
        return " + ".join(f"{weight:g} x {name}" for name, weight in layer.items())
    return str(layer) if isinstance(layer, int | str) else ", ".join(map(str, layer))


def conditions(command: Sequence[str]) -> str:
    """A sentence that says with what command, when and where a table was made."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "espnet"))
    return (
        f"`{shlex.join(command)}`, {datetime.now(timezone.utc).date()}, {os.cpu_count()} CPU cores "
        f"({torch.get_num_threads()} threads), {versions}.\n"
    )


def replace_table(page: str | Path, text: str) -> None:
    """Put ``text`` between the two markers of a Markdown page; the rest stays as it is.

    Raises:
        UserError: see ``split_page``.
    """
    before, after = split_page(page)
    write_text(page, f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}")


def split_page(page: str | Path) -> tuple[str, str]:
    """What is before and behind the place for the table.

    Raises:
        UserError: the page is missing, or doesn't have each marker once, in their order.
    """
    page = Path(page)
    if not page.is_file():
        raise UserError("no such page", where=page, remedy="check the path")
    whole = page.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or whole.count(BEGIN) > 1 or whole.count(END) > 1:
        remedy = f"write a line {BEGIN} and below it a line {END}"
        raise UserError("no place for the table", where=page, remedy=remedy)
    return before, after
