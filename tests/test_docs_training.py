"""``docs/training.md`` lists every setting of a training, and no other."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from sepasr.data.dynamic import MixingConfig
from sepasr.train.fit_config import FitConfig
from sepasr.train.objective import LossConfig
from sepasr.train.schedule import OptimizerConfig

PAGE = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("section", "config"), [("loss", LossConfig), ("mixing", MixingConfig), ("fit", FitConfig)]
)
def test_every_setting_has_a_row(section: str, config: type) -> None:
    text = PAGE.partition(f"## `{section}`")[2].partition("\n## ")[0]
    names = [field.name for field in fields(config) if field.name != "optimizer"]
    if config is FitConfig:
        names += [field.name for field in fields(OptimizerConfig)]
    missing = [name for name in names if f"`{name}`" not in text.replace("optimizer.", "")]
    assert not missing
    first = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    listed = {name for cell in first for name in re.findall(r"`(.*?)`", cell)}
    assert {name.removeprefix("optimizer.") for name in listed} <= set(names)
