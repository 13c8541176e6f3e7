"""What a scoring starts from: which systems and recognisers, and where they come from."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sepasr.decode.recognise import RECOGNISER
from sepasr.decode.separate import SEPARATOR
from sepasr.errors import UserError
from sepasr.score.result import CLEAN, MIXTURE, RecogniserInfo, SystemInfo
from sepasr.separator.config import SEVERAL

PACKAGES = (
    *("sepasr", "numpy", "scipy", "torch", "meeteval", "whisper-normalizer"),
    *("pesq", "pystoi", "gammatone"),
)
"""What decides the figures of a scoring, by the name of its package."""


@dataclass(frozen=True)
class Primary:
    """A comparison with the control that was named before the run that decides it."""

    system: str
    recogniser: str


@dataclass(frozen=True)
class TableConfig:
    """What a recipe says of its tables.

    Attributes:
        control: the system that others are compared with.
        primary: the comparisons that count; all others are read with care.
        notes: sentences that belong below every table.
    """

    control: str = "sisdr"
    primary: list[Primary] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """System and recogniser of the primary comparisons."""
        return {(p.system, p.recogniser) for p in self.primary}

    def control_among(self, names: Collection[str]) -> str | None:
        """The control, if it is one of these systems."""
        return self.control if self.control in names else None


def _read_json(path: Path, stage: str) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("no such file", where=path, remedy=f"{stage} first") from None
    except json.JSONDecodeError as error:
        raise UserError(f"not JSON: {error}", where=path, remedy=f"{stage} again") from None


def system_info(exp: str | Path, folder: str) -> SystemInfo:
    """The system whose audio is in ``exp/separate/<folder>``.

    A folder is ``<name>`` or ``<name>/seed<n>``. ``mixture`` and ``clean`` stand for the test set's
    own audio. Of lists that another program wrote, only the name is known.

    Raises:
        UserError: nothing was separated there.
    """
    name, _, seeded = folder.partition("/")
    if name in (MIXTURE, CLEAN):
        return SystemInfo(name, folder)
    separated = Path(exp, "separate", folder)
    # Ours writes what it is before it lists what it made.
    if (separated / "spk1.scp").is_file() and not (separated / SEPARATOR).exists():
        return SystemInfo(name, folder)
    description = _read_json(separated / SEPARATOR, "separate")
    history = description["history"]
    last = history[-1] if history else {}
    # Weights keep what an earlier training taught them.
    heard = [entry["encoder"] for entry in history if entry.get("encoder")]

    def joined(key: str) -> str | None:
        return SEVERAL.join(dict.fromkeys(encoder[key] for encoder in heard)) or None

    return SystemInfo(
        name,
        folder,
        encoder=(last.get("encoder") or {}).get("name"),
        encoder_family=joined("family"),
        encoder_weights=joined("weights"),
        seed=last.get("seed") if seeded else None,
        steps=last.get("steps"),
        lr=last.get("lr"),
    )


def recogniser_info(exp: str | Path, folders: Sequence[str], name: str) -> RecogniserInfo:
    """The recogniser whose transcripts are in ``exp/decode/<folder>/<name>``.

    Raises:
        UserError: it has not read a system, or what it is differs between two.
    """
    paths = [Path(exp, "decode", folder, name, RECOGNISER) for folder in folders]
    readers = []
    for path in paths:
        found = _read_json(path, "recognise")
        try:
            info = RecogniserInfo(found["name"], found["family"], found["weights"])
            readers.append((info, found.get("identity")))
        except (KeyError, TypeError):
            raise UserError("does not say who read", where=path, remedy="recognise again") from None
        if readers[-1] != readers[0]:
            what = f"another recogniser than that of {paths[0]}"
            raise UserError(what, where=path, remedy="recognise all systems with one")
    return readers[0][0]


def not_scored(
    table: TableConfig, systems: Sequence[SystemInfo], recognisers: Sequence[RecogniserInfo]
) -> list[str]:
    """Sentences on what the table's settings name and the scoring doesn't hold.

    It need not be a mistake: a part of a recipe's systems may be scored alone.
    """
    pairs = {(system.name, recogniser.name) for system in systems for recogniser in recognisers}
    names = {system.name for system in systems}
    control = f"Not scored: {table.control}, the control, so nothing is compared."
    return ([] if table.control in names else [control]) + [
        f"Not scored: {p.system} by {p.recogniser}, named as primary."
        for p in table.primary
        if (p.system, p.recogniser) not in pairs
    ]


def config_sha(exp: str | Path, folders: Sequence[str], recognisers: Sequence[str]) -> str:
    """Digest of how every separator was trained and every recogniser set up."""
    digest = hashlib.sha256()
    for folder in folders:
        files = [Path(exp, "separate", folder, SEPARATOR)]
        files += [Path(exp, "decode", folder, name, RECOGNISER) for name in recognisers]
        for file in files:
            if file.is_file():
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def versions() -> dict[str, str]:
    """The software that scores: version by package, Python among them."""
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        found[package] = installed_version(package)
    return found


def installed(package: str) -> str:
    """A package and its version."""
    return f"{package} {installed_version(package)}"


def installed_version(package: str) -> str:
    """A package's version."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
