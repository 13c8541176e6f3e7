"""Settings are laid over each other, and what makes no sense is refused where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from sepasr.config import load_config
from sepasr.errors import UserError
from sepasr.separator.model import SeparatorConfig
from sepasr.train.recipe import TrainConfig

REPOSITORY = Path(__file__).parents[1]


def test_later_layers_win_and_the_rest_stays(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("fit: {steps: 5, batch: 3}\n")
    (tmp_path / "delta.yaml").write_text("fit: {steps: 7}\n")
    files = [tmp_path / "base.yaml", tmp_path / "delta.yaml"]
    assert load_config(TrainConfig, files).fit.steps == 7
    config = load_config(TrainConfig, files, ["fit.steps=9"])
    assert (config.fit.steps, config.fit.batch, config.loss.kind) == (9, 3, "signal")


@pytest.mark.parametrize(
    ("cls", "override", "message"),
    [
        (TrainConfig, "fit.batch=0", "fit.batch is 0, less than 1"),
        (TrainConfig, "fit.steps=0", "fit.steps is 0, less than 1"),
        (TrainConfig, "fit.optimizer.lr=0", "lr is 0.0, not above 0"),
        (TrainConfig, "mixing.snr_db=[3,-6]", "is no range"),
        (TrainConfig, "mixing.speed_percent=[0,0]", "is no range"),
        (TrainConfig, "mixing.segment_s=0", "not above 0"),
        (TrainConfig, "fit.stepz=3", "stepz"),
        (TrainConfig, "fit.steps=many", "many"),
        (TrainConfig, "fit.precision=bf16-true", "take 32-true, or bf16-mixed"),
        (SeparatorConfig, "dropout=1", "dropout is 1.0, not from 0 to less than 1"),
        (SeparatorConfig, "attention_dropout=-0.1", "attention_dropout is -0.1"),
        (SeparatorConfig, "subsamplings=-1", "subsamplings is -1"),
        (SeparatorConfig, "subsampling_padding=2", "subsampling_padding is 2"),
        (SeparatorConfig, "heads=7", "can't be divided among 7 heads"),
        (SeparatorConfig, "stride=99", "stride 99"),
    ],
)
def test_what_makes_no_sense_is_refused(cls: type, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_config(cls, [], [override])
    assert override in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_the_recipes_own_files_fit(name: str) -> None:
    files = [REPOSITORY / "conf/train" / f"{name}.yaml"]
    files.append(REPOSITORY / "egs/mini_whamr/conf/train" / f"{name}.yaml")
    assert load_config(TrainConfig, files).mixing.segment_s == 2.0
