"""The model card of a separator."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from torch import Tensor

TAGS = ["speech-separation", "speech-recognition", "cocktail-party"]


def model_card(
    description: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    versions: Mapping[str, str],
    repo_id: str | None = None,
    results: str | Path | None = None,
) -> ModelCard:
    """Say what a separator is, what it was trained on, what it reaches and how it is loaded.

    Args:
        description: see :meth:`sepasr.separator.hub.Pretrained.description`.
        weights: its state.
        versions: of the packages it was written with, where that is known.
        repo_id: its name on the hub, for the examples.
        results: a ``results.json``, whose tables are shown.

    Raises:
        UserError: the results can't be read.
    """
    config = description["config"]
    network = config.get("network", "td_conformer")
    facts = {
        "network": f"`{network}`, {sum(v.numel() for v in weights.values()):,} parameters",
        "settings": ", ".join(f"{name} {_plain(value)}" for name, value in config.items()),
        "sampling rate": f"{config['fs']} Hz",
        "speakers": config["num_speakers"],
        "training references": description["reference"] or "not stated",
        "written with": ", ".join(f"{name} {number}" for name, number in versions.items())
        or "not stated",
    }
    data = ModelCardData(library_name="sepasr", pipeline_tag="audio-to-audio", tags=TAGS)
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {repo_id or 'A speech separator'}",
        f"Separates a recording of {config['num_speakers']} people who speak at once into one "
        "waveform each. The sum of the estimates is at the recording's level.",
        _table(("", ""), [(name, str(value)) for name, value in facts.items()]),
        "## Training",
        _trainings(description["history"]),
        *(_results(results) if results else ()),
        "## Use",
        _use(repo_id or "path/to/this/directory", on_hub=repo_id is not None),
    ]
    return ModelCard("\n\n".join(parts) + "\n")


def _trainings(history: Sequence[Mapping[str, Any]]) -> str:
    """One row each, the first training first."""
    if not history:
        return "None: the weights are random."
    names = list(dict.fromkeys(name for entry in history for name in entry))
    rows = [tuple(_plain(entry.get(name)) for name in names) for entry in history]
    return _table(tuple(names), rows)


def _results(path: str | Path) -> list[str]:
    """The report's own headings, one level down."""
    from sepasr.report.table import markdown
    from sepasr.score.result import Results

    return [re.sub(r"^#", "##", markdown(Results.read(path)), flags=re.MULTILINE).rstrip()]


def _use(name: str, *, on_hub: bool) -> str:
    code = [
        "```python",
        "from sepasr import Separator",
        "",
        f'separator = Separator.from_pretrained("{name}")',
        "estimates = separator(mixture, sample_rate)  # (speakers, samples)",
        "```",
    ]
    if on_hub:
        code[4:4] = [
            "# or one state of it, by branch, tag or commit:",
            f'separator = Separator.from_pretrained("{name}", revision="main")',
        ]
        code += [
            "",
            "After one download it loads without a network, with `local_files_only=True` or with "
            "`HF_HUB_OFFLINE=1` in the environment; a copy of this folder loads by its path.",
        ]
    else:
        code += ["", "No network is needed."]
    return "\n".join(code)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(value: Any) -> str:
    """A value for a cell: a mapping, as of the encoder, by its name where it has one."""
    if isinstance(value, Mapping):
        value = value.get("name") or ", ".join(f"{k} {v}" for k, v in value.items())
    return "–" if value is None else str(value).replace("|", "\\|")
