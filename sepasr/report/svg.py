"""Figures of matplotlib as SVG that belongs to a page: its text is text, its colours the page's."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, FAINT, GRID, PAPER, GOOD, BAD = (
    "#010101",
    "#020202",
    "#030303",
    "#040404",
    "#050505",
    "#060606",
)
SERIES = ("#0a0101", "#0a0202", "#0a0303", "#0a0404", "#0a0505", "#0a0606", "#0a0707", "#0a0808")
"""Colours to draw with, which stand for those of the page's style, light or dark."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p")
"""One for each of ``SERIES``: colour is never all that tells two series apart."""
LINES = ("-", "--", ":")
"""One for each round of ``SERIES``."""
VARIABLES = {
    INK: "--ink",
    FAINT: "--faint",
    GRID: "--grid",
    PAPER: "--paper",
    GOOD: "--good",
    BAD: "--bad",
} | {colour: f"--series{number}" for number, colour in enumerate(SERIES)}
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold a dollar
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "savefig.facecolor": "none",
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}


def look(series: int) -> dict[str, Any]:
    """Colour, marker and line of a plot's series, by its number: 24 of them differ."""
    turn, place = divmod(series, len(SERIES))
    return {
        "color": SERIES[place],
        "marker": MARKERS[place],
        "linestyle": LINES[turn % len(LINES)],
    }


@contextmanager
def style(name: str) -> Iterator[None]:
    """Draw and save in the page's style; ``name`` decides what ids inside the SVG look like."""
    with rc_context({**STYLE, "svg.hashsalt": name}):
        yield


def to_svg(figure: Figure, name: str, title: str, description: str, caption: str) -> str:
    """An SVG element to put into a page, without namespaces and ids that nothing points to.

    Args:
        figure: drawn within :func:`style`.
        name: unique on the page; the ids inside start with it.
        title: what is shown, in a few words.
        description: what a reader sees in it, for those who don't.
        caption: id of the element that describes it in a few words. That is what is read aloud:
            a name of thousands of letters could not be broken off.
    """
    buffer = io.BytesIO()
    FigureCanvasSVG(figure)
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    # Our own output, a moment old: nothing foreign is parsed here.
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style", "title"):
                parent.remove(child)
    _rename(root, name)
    view = root.get("viewBox", "")
    root.attrib.clear()
    labels = {"title": title, "desc": description}
    for position, (tag, text) in enumerate(labels.items()):
        element = ElementTree.Element(tag, {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(position, element)
    root.attrib.update(
        {
            "viewBox": view,
            "role": "img",
            "aria-labelledby": f"{name}-title",
            "aria-describedby": caption,
            "style": f"--natural: {view.split()[2]}px",
        }
    )
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


def _rename(root: ElementTree.Element, name: str) -> None:
    """Drop namespaces and idle ids, prefix the others, and take the page's colours."""
    everything = list(root.iter())
    values = [value for element in everything for value in element.attrib.values()]
    used = {match for value in values for match in re.findall(r"#([A-Za-z]\w*)", value)}
    for element in everything:
        element.tag = _local(element.tag)
        attributes = {_local(key): value for key, value in element.attrib.items()}
        element.attrib.clear()
        if attributes.get("id") not in used:
            attributes.pop("id", None)
        for key, value in attributes.items():
            if key == "id":
                value = f"{name}-{value}"
            elif key == "href" or "url(#" in value:
                value = re.sub(r"#(\w+)", rf"#{name}-\1", value)
            if key == "style":
                value = _coloured(value)
            element.set(key, value)


def _coloured(declarations: str) -> str:
    """The page's colours in place of those that stand for them."""
    return re.sub(
        r"#[0-9a-f]{6}",
        lambda match: f"var({VARIABLES[match[0]]})" if match[0] in VARIABLES else match[0],
        declarations,
    )
