"""What a study's tables came from, beside them: commit, sets, trainings, finalists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sepasr.data.datadir import fingerprint
from sepasr.files import write_text
from sepasr.study.made import commit_at_start, noted_commit
from sepasr.study.rows import StudyResult

if TYPE_CHECKING:
    from sepasr.study.place import Place
    from sepasr.study.runner import Phase, Runner

PACKAGES = ("torch", "lightning", "transformers", "ctranslate2", "scipy", "meeteval")


def write_short_record(name: str, question: str, place: Place) -> None:
    """Write ``NAME.json`` for a study that trains nothing: what was asked, by what and when."""
    record = {"study": name, "question": question, **_made(name, place)}
    text = json.dumps(record, indent=1, ensure_ascii=False)
    write_text(place.out / f"{name}.json", text + "\n")


def _made(name: str, place: Place) -> dict[str, Any]:
    return {
        "command": f"sepasr study {name} --recipe {place.recipe}",
        "commit": commit_at_start(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "versions": {package: version(package) for package in PACKAGES},
    }


def write_record(runner: Runner, phases: Sequence[Phase], results: Sequence[StudyResult]) -> None:
    """Write ``NAME.json``: everything that a figure of the study depends on.

    ``variants`` has for each what it is set to and, by seed and steps, the digest of the training;
    ``finalists`` has who was chosen, at how many steps and by what value, once there is a choice.
    ``sets`` has how many mixtures there are of which corpus, at which rate, cut and with which
    references. ``commit`` is that of the last call; ``trained_at`` and ``read_at`` have those at
    which what it found was made.
    """
    sets = {}
    trained_at: set[str | None] = set()
    read_at: set[str | None] = set()
    variants: dict[str, Any] = {
        variant.name: {
            **asdict(variant),
            "encoders": [asdict(encoder) for encoder in runner.facts.encoders[variant.name]],
            "trainings": {},
        }
        for variant in runner.variants
    }
    for phase in phases:
        for point in phase.points:
            evaluation = runner.evaluation(phase, point.variant)
            name = evaluation.data.path.name
            if name not in sets:
                sets[name] = {
                    "mixtures": len(evaluation.data.mixtures),
                    "fingerprint": fingerprint(evaluation.data),
                    **asdict(evaluation.data.info),
                }
            subject = runner.subject(point)
            read_at |= {evaluation.read_at(subject, reader) for reader in phase.readers}
            if point.seed is not None:
                trainings = variants[point.variant.name]["trainings"]
                training = runner.training(point)
                trainings[f"seed{point.seed}/step{point.steps}"] = training.digest
                trained_at.add(noted_commit(training.model(point.steps)))
    finalists = runner.choose(results) if len(phases) > 1 else []
    record = {
        "study": runner.name,
        "question": runner.study.question,
        "control": runner.study.control,
        "plot": runner.study.plot,
        **_made(runner.name, runner.place),
        "trained_at": sorted(filter(None, trained_at)),
        "read_at": sorted(filter(None, read_at)),
        "overrides": list(runner.place.overrides),
        "sets": sets,
        "recognisers": [asdict(info) for info in runner.facts.recognisers],
        "variants": variants,
        "rule": runner.study.finalists and asdict(runner.study.finalists),
        "finalists": [asdict(finalist) for finalist in finalists],
    }
    text = json.dumps(record, indent=1, ensure_ascii=False, default=str)
    write_text(runner.place.out / f"{runner.name}.json", text + "\n")
