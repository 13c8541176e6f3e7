"""Training is a function of its configuration, however often it is interrupted."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import lightning
import pytest
import torch
from tiny_training import THRESHOLD_DB, TINY, Tones, train, weights

from sepasr.data.batch import MixtureItem
from sepasr.errors import UserError
from sepasr.loss.loss import Loss, Moment
from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import Separator
from sepasr.train import fit as fit_module
from sepasr.train.checkpoint import steps_done
from sepasr.train.fit import FitConfig
from sepasr.train.schedule import LatePlateau, OptimizerConfig, lr_factor
from sepasr.train.separation import SeparationModule

DROPOUT = replace(TINY, dropout=0.1, attention_dropout=0.1)


class Killed(Exception):
    pass


class DyingTones(Tones):
    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def __getitem__(self, index: int) -> MixtureItem:
        if index > self.last:
            raise Killed
        return super().__getitem__(index)


def trained(out: Path, **changes) -> dict[str, torch.Tensor]:
    train(out, Tones(), DROPOUT, **changes)
    return weights(out)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_killed_and_resumed_gives_equal_weights(tmp_path: Path, accumulation: int) -> None:
    whole = trained(tmp_path / "whole", accumulation=accumulation)
    dying = DyingTones(2 * 7 * accumulation)
    with pytest.raises(Killed):
        train(tmp_path / "killed", dying, DROPOUT, accumulation=accumulation)
    assert steps_done(tmp_path / "killed") == 6
    assert not (tmp_path / "killed" / "final").exists()
    assert equal(whole, trained(tmp_path / "killed", accumulation=accumulation))


@pytest.fixture
def _stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validations find the same loss whatever is learned."""
    found = {name: torch.ones(1) for name in ("items", "loss", "si_sdri")}
    monkeypatch.setattr(
        SeparationModule, "validation_step", lambda module, *_: module._validation.add(**found)
    )


@pytest.mark.usefixtures("_stuck")
@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_plateau_is_the_same_after_an_interruption(tmp_path: Path, accumulation: int) -> None:
    """Checkpoints and validations fall on the same steps."""
    plateau = OptimizerConfig(lr=1e-7, schedule="plateau", patience=0, plateau_after=2)
    settings = {"optimizer": plateau, "valid_every": 2, "accumulation": accumulation, "steps": 8}
    whole = train(tmp_path / "whole", Tones(), **settings)
    rate = whole.trainer.optimizers[0].param_groups[0]["lr"]
    assert rate == pytest.approx(1e-7 / 8)
    with pytest.raises(Killed):
        train(tmp_path / "killed", DyingTones(2 * 6 * accumulation), **settings)
    assert steps_done(tmp_path / "killed") == 5
    resumed = train(tmp_path / "killed", Tones(), **settings)
    assert resumed.trainer.optimizers[0].param_groups[0]["lr"] == rate
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


@pytest.mark.usefixtures("_stuck")
@pytest.mark.parametrize("schedule", ["plateau", "constant"])
def test_a_training_that_ended_with_a_validation_goes_on(tmp_path: Path, schedule: str) -> None:
    settings = {
        "optimizer": OptimizerConfig(lr=1e-7, schedule=schedule, patience=0),
        "valid_every": 2,
        "accumulation": 2,
    }
    train(tmp_path / "longer", Tones(), steps=4, **settings)
    longer = train(tmp_path / "longer", Tones(), steps=12, **settings)
    whole = train(tmp_path / "whole", Tones(), steps=12, **settings)
    rates = [one.trainer.optimizers[0].param_groups[0]["lr"] for one in (longer, whole)]
    assert rates[0] == rates[1]
    assert (rates[0] < 1e-7) == (schedule == "plateau")
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "longer"))
    assert logged(tmp_path / "longer", 4) == logged(tmp_path / "whole", 0)


def test_a_longer_training_has_the_rate_of_its_own_schedule_at_once(tmp_path: Path) -> None:
    falling = OptimizerConfig(lr=1e-3, schedule="cosine", decay_steps=8)
    train(tmp_path, Tones(), steps=4, optimizer=falling)
    rates = []

    def note(module: SeparationModule, *arguments: object, **named: object) -> None:
        rates.append(module.optimizers().param_groups[0]["lr"])
        step(module, *arguments, **named)

    step = SeparationModule.optimizer_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SeparationModule, "optimizer_step", note)
        train(tmp_path, Tones(), steps=8, optimizer=falling)
    factor = lr_factor(falling, 8)
    assert rates == [1e-3 * factor(n) for n in range(4, 8)]


def logged(out: Path, start: int) -> dict[str, str]:
    """The loss of training in the lines of the log, by their numbers."""
    with (out / "csv" / f"from_step_{start}" / "metrics.csv").open() as stream:
        lines = [line for line in csv.DictReader(stream) if line["train/loss"]]
    assert lines
    return {line["step"]: line["train/loss"] for line in lines}


def test_training_changes_the_weights_and_the_seed_matters(tmp_path: Path) -> None:
    once = trained(tmp_path / "a")
    assert equal(once, trained(tmp_path / "b"))
    assert not equal(once, trained(tmp_path / "c", steps=11))
    assert not equal(once, trained(tmp_path / "d", seed=4))


def test_snapshots_are_what_training_would_have_been_at_that_step(tmp_path: Path) -> None:
    constant = OptimizerConfig(lr=1e-3)
    trained(tmp_path / "long", optimizer=constant, snapshots=[4], accumulation=2)
    short = trained(tmp_path / "short", optimizer=constant, steps=4, accumulation=2)
    (tmp_path / "long" / "final").rename(tmp_path / "later")
    (tmp_path / "long" / "step4").rename(tmp_path / "long" / "final")
    assert equal(short, weights(tmp_path / "long"))


@pytest.fixture
def _up_and_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second validation, after step 4, is the best; the third and the fifth are as good."""
    losses = {2: 3.0, 4: 1.0, 6: 2.0, 8: 1.0, 10: 4.0, 12: 1.0}

    def found(module: SeparationModule, *_: object) -> None:
        loss = torch.tensor([losses[module.global_step]])
        module._validation.add(items=torch.ones(1), loss=loss, si_sdri=loss)

    monkeypatch.setattr(SeparationModule, "validation_step", found)


@pytest.mark.usefixtures("_up_and_down")
@pytest.mark.parametrize("more", [{"accumulation": 2}, {"average": 0.5}])
def test_the_best_weights_are_those_of_the_step_of_the_least_loss(
    tmp_path: Path, more: dict
) -> None:
    settings = {"optimizer": OptimizerConfig(lr=1e-3), "valid_every": 2, "steps": 9, **more}
    trained(tmp_path / "last", snapshots=[4], **settings)
    best = trained(tmp_path / "best", keep="best", **settings)
    assert not equal(best, weights(tmp_path / "last"))
    then = Separator.from_pretrained(tmp_path / "last" / "step4")
    assert equal(best, then.state_dict())
    assert Separator.from_pretrained(tmp_path / "best/final").provenance.history[-1]["steps"] == 4


@pytest.mark.usefixtures("_up_and_down")
def test_the_best_weights_outlive_an_interruption_and_a_longer_training(tmp_path: Path) -> None:
    constant = OptimizerConfig(lr=1e-3)
    settings = {"optimizer": constant, "valid_every": 2, "save_every": 3, "keep": "best"}
    best = trained(tmp_path / "whole", steps=9, **settings)
    for item, saved in ((2 * 4, 3), (2 * 8, 7)):  # before the best validation, and after it
        out = tmp_path / f"killed at {item}"
        with pytest.raises(Killed):
            train(out, DyingTones(item), DROPOUT, steps=9, **settings)
        assert steps_done(out) == saved
        assert not (out / "final").exists()
        assert equal(best, trained(out, steps=9, **settings))
    assert equal(best, trained(tmp_path / "whole", steps=12, **settings))


class Worse:
    """5 dB above negative SI-SDR; remembers at which moments it was asked."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def begin(self, moment: Moment) -> None:
        self.moments.append(moment)

    def to(self, _: torch.device) -> Worse:
        return self

    def __call__(self, *signals: torch.Tensor | None) -> Loss:
        loss = SignalLoss()(*signals)
        return replace(loss, value=loss.value + 5)


@pytest.mark.parametrize(
    "settings",
    [{"optimizer": OptimizerConfig(schedule="plateau")}, {"keep": "best"}, {}],
)
def test_what_follows_the_validations_follows_the_loss_that_is_trained_with(
    tmp_path: Path, settings: dict
) -> None:
    settings = {"optimizer": OptimizerConfig(lr=1e-9), **settings}
    loss = Worse()
    own = train(tmp_path / "own", Tones(), loss=loss, steps=4, **settings)
    plain = train(tmp_path / "plain", Tones(), loss=SignalLoss(), steps=4, **settings)
    found, signal = (float(t.trainer.callback_metrics["valid/loss"]) for t in (own, plain))
    validations = [moment for moment in loss.moments if not moment.training]
    if len(settings) == 1 and settings["optimizer"].schedule == "constant":
        assert found == signal  # an encoder would run for nothing
        assert not validations
    else:
        assert found == pytest.approx(signal + 5, abs=1e-3)
        assert [moment.step for moment in validations] == [4, 4, 4]


def test_killed_behind_the_last_step_leaves_an_equal_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the checkpoint that is due at the last step and the one that a training ends with."""
    settings = {"steps": 4, "save_every": 4, "valid_every": 3}
    train(tmp_path / "whole", Tones(), **settings)
    save = lightning.Trainer.save_checkpoint
    saved: list[Path] = []

    def dying(trainer: lightning.Trainer, path: Path, *rest: object, **named: object) -> None:
        if saved:
            raise Killed
        saved.append(path)
        save(trainer, path, *rest, **named)

    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", dying)
    with pytest.raises(Killed):
        train(tmp_path / "killed", Tones(), **settings)
    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", save)
    train(tmp_path / "killed", Tones(), **settings)
    left = [
        torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "killed")
    ]
    assert left[0]["epoch"] == left[1]["epoch"]
    assert equal(left[0]["state_dict"], left[1]["state_dict"])
    assert steps_done(tmp_path / "killed") == 4


def test_a_finished_training_is_not_trained_further(tmp_path: Path) -> None:
    done = trained(tmp_path)
    assert steps_done(tmp_path) == 9
    assert equal(done, trained(tmp_path))


def test_accumulated_batches_are_a_larger_batch(tmp_path: Path) -> None:
    """Also where items are left out, as many as it may be of each batch."""
    loud, settings = Tones(loud={3, 4, 5}), {"threshold_db": THRESHOLD_DB, "steps": 2}
    larger = train(tmp_path / "larger", loud, batch=4, **settings)
    several = train(tmp_path / "several", loud, accumulation=2, **settings)
    for a, b in zip(larger.gradients, several.gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6 * a.norm().item(), rtol=0)
    torch.testing.assert_close(larger.losses, several.losses, atol=1e-4, rtol=0)


@pytest.mark.usefixtures("_stuck")
@pytest.mark.parametrize("shares", [((4, 1), (2, 2)), ((2, 2), (4, 1)), ((1, 4), (2, 2))])
def test_a_resumed_training_may_share_its_batches_otherwise(
    tmp_path: Path, shares: tuple[tuple[int, int], ...]
) -> None:
    """It takes the same items, and validates at the same steps."""
    plateau = OptimizerConfig(lr=1e-4, schedule="plateau", patience=0)
    settings = {"optimizer": plateau, "valid_every": 3, "steps": 10}
    whole = train(tmp_path / "whole", Tones(), batch=4, **settings)
    (batch, accumulation), (then, others) = shares
    shared = {"batch": batch, "accumulation": accumulation, "save_every": 5}
    dying = DyingTones(4 * 6 - 1)  # in step 6, and what was saved is step 5
    with pytest.raises(Killed):
        train(tmp_path / "killed", dying, **settings, **shared)
    assert steps_done(tmp_path / "killed") == 5
    resumed = train(tmp_path / "killed", Tones(), batch=then, accumulation=others, **settings)
    assert len(resumed.gradients) == 5
    for a, b in zip(whole.gradients[5:], resumed.gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3 * a.norm().item(), rtol=0)
    rates = [one.trainer.optimizers[0].param_groups[0]["lr"] for one in (whole, resumed)]
    assert rates[0] == rates[1] < 1e-4


def test_lines_of_the_log_are_written_while_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "LOG_EVERY", 1)
    seen = {}

    class Watching(Tones):
        def __getitem__(self, index: int) -> MixtureItem:
            if log := list(tmp_path.rglob("metrics.csv")):
                seen[index // 2] = len(log[0].read_text().splitlines()) - 1
            return super().__getitem__(index)

    train(tmp_path, Watching(), steps=6)
    assert seen[5] >= 4  # of five steps


def test_logs_of_a_training_that_is_gone_are_not_those_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "LOG_EVERY", 1)
    for place in ("whole", "again"):
        train(tmp_path / place, Tones(), steps=4)
    train(tmp_path / "again", Tones(), steps=6)  # goes on, with a log of its own
    (tmp_path / "again/last.ckpt").unlink()
    train(tmp_path / "again", Tones(), steps=4)
    logs = [sorted((tmp_path / place / "csv").rglob("*.csv")) for place in ("whole", "again")]
    assert [len(found) for found in logs] == [1, 1]
    assert logs[0][0].read_text() == logs[1][0].read_text()


def test_a_step_with_every_item_left_out_learns_nothing(tmp_path: Path) -> None:
    module = train(tmp_path, Tones(loud=range(99)), threshold_db=THRESHOLD_DB, steps=1)
    assert module.losses == [0.0]
    assert not module.gradients[0].any()


def test_learning_rate_schedule() -> None:
    factor = lr_factor(
        OptimizerConfig(lr=2.0, final_lr=0.2, warmup_steps=10, schedule="cosine", decay_steps=50),
        steps=110,
    )
    assert factor(4) == pytest.approx(0.5)
    assert factor(10) == factor(60) == pytest.approx(1.0)
    assert factor(70) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(0.2 * math.pi)))
    assert factor(85) == pytest.approx(0.55)
    assert factor(110) == pytest.approx(0.1)
    constant = lr_factor(OptimizerConfig(warmup_steps=10), 100)
    assert [constant(step) for step in (4, 9, 99)] == [0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "steep"}, "unknown learning-rate schedule 'steep'.*constant, cosine"),
        ({"schedule": "plateau", "warmup_steps": 5}, r"no use for fit\.optimizer\.warmup_steps"),
        ({"schedule": "cosine"}, r"set fit\.optimizer\.decay_steps"),
        ({"gradient_norm": -1.0}, r"gradient_norm is -1\.0, less than 0"),
        ({"warmup_steps": -1}, r"warmup_steps is -1, less than 0"),
        ({"final_lr": -1e-9}, r"final_lr is -1e-09, less than 0"),
    ],
)
def test_settings_of_the_rate_that_would_be_ignored(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        OptimizerConfig(**settings)


def test_a_snapshot_behind_the_end_is_refused() -> None:
    with pytest.raises(UserError, match=r"fit\.snapshots has 11, and fit\.steps is 10"):
        FitConfig(steps=10, snapshots=[10, 11])
    with pytest.raises(UserError, match=r"fit\.snapshots has 0, less than 1"):
        FitConfig(steps=10, snapshots=[0])


def test_a_validation_that_is_not_finite_ends_the_training(tmp_path: Path, monkeypatch) -> None:
    nothing = {"items": torch.ones(1), "loss": torch.tensor([math.nan]), "si_sdri": torch.ones(1)}
    monkeypatch.setattr(
        SeparationModule, "validation_step", lambda module, *_: module._validation.add(**nothing)
    )
    with pytest.raises(UserError, match="the loss of the validation of step 4 is not finite"):
        train(tmp_path, Tones(), keep="best")


def test_the_best_of_no_validation_is_refused() -> None:
    with pytest.raises(UserError, match=r"fit\.valid_every is 500, and fit\.steps is 499"):
        FitConfig(steps=499, valid_every=500, keep="best")
    for follows in ({"keep": "best"}, {"optimizer": OptimizerConfig(schedule="plateau")}):
        with pytest.raises(UserError, match=r"fit\.valid_every is 1: no checkpoint"):
            FitConfig(valid_every=1, **follows)
    with pytest.raises(UserError, match="unknown choice of weights 'first'"):
        FitConfig(keep="first")


def test_a_training_that_is_shorter_than_its_fall_begins_at_its_peak() -> None:
    factor = lr_factor(OptimizerConfig(schedule="cosine", decay_steps=2500), 50)
    assert factor(0) == pytest.approx(1.0)
    assert factor(25) == pytest.approx(0.5)


def test_a_plateau_halves_the_smallest_rates() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-7)
    plateau = LatePlateau(optimizer, 0, lambda: True)
    for _ in range(11):
        plateau.step(1.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2e-7 / 2**10)


def test_a_plateau_counts_from_when_the_rate_may_fall() -> None:
    calls, rates = iter(range(1, 11)), []
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    plateau = LatePlateau(optimizer, 2, lambda: next(calls) >= 4)
    for _ in range(10):
        plateau.step(1.0)
        rates.append(optimizer.param_groups[0]["lr"])
    # The fourth loss is the first that counts, and the third after it that isn't lower halves.
    assert rates == [1.0] * 6 + [0.5] * 3 + [0.25]


def test_a_negative_loss_that_rises_a_little_is_a_plateau() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    plateau = LatePlateau(optimizer, 3, lambda: True)
    for number in range(5):
        assert optimizer.param_groups[0]["lr"] == 1.0
        plateau.step(-14 + number / 1000)
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("decay", [0.0, 0.02])
def test_weight_decay_is_decoupled(decay: float) -> None:
    config = FitConfig(optimizer=OptimizerConfig(weight_decay=decay))
    (optimizer,), _ = SeparationModule(Separator(TINY), SignalLoss(), config).configure_optimizers()
    assert type(optimizer) is (torch.optim.AdamW if decay else torch.optim.Adam)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [decay]
