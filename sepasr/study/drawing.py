"""Looks that the plots of all studies share."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sepasr.files import atomic_path
from sepasr.study.config import StudyConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#666666"
WIDTH_IN = 8.0


@contextmanager
def drawn(
    study: StudyConfig, size: tuple[float, float], path: Path, note: str = "", **axes: Any
) -> Iterator:
    """A figure with the question and a note above, which is written when the block ends."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    # The same figures give the same file; text stays text, to be found and read aloud.
    options: dict[Any, Any] = {"svg.hashsalt": path.stem, "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(options):
        figure, found = pyplot.subplots(figsize=size, layout="constrained", **axes)
        try:
            lines = [*textwrap.wrap(study.question, 88), *textwrap.wrap(note, 88)]
            figure.suptitle("\n".join(lines), fontsize=11, x=0.01, ha="left")
            yield figure, found
            with atomic_path(path) as temporary:
                figure.savefig(temporary, format="svg", metadata={"Date": None})
        finally:
            pyplot.close(figure)


def legend(figure: Figure, handles: list[Any]) -> None:
    """Put a legend under a figure."""
    figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False)


def looks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each name; where the colours are used up, with other markers."""
    return {
        name: (COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)])
        for i, name in enumerate(names)
    }


def handle(colour: str, marker: str, label: str, face: str | None = None, line: Any = "-") -> Any:
    """An entry of a legend."""
    from matplotlib.lines import Line2D

    face = face or colour
    return Line2D(
        [], [], color=colour, marker=marker, markerfacecolor=face, linestyle=line, label=label
    )
