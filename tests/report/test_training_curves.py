import pytest

from sepasr.errors import UserError
from sepasr.files import write_text
from sepasr.report.curves import read_curves

HEADER = "epoch,step,train/loss,valid/loss\n"


def log(exp, start: int, rows: str, training: str = "sisdr/seed1") -> None:
    place = exp / "finetune" / training / f"csv/from_step_{start}/metrics.csv"
    write_text(place, HEADER + rows)


def test_a_restart_replaces_what_comes_after_it(tmp_path):
    log(tmp_path, 0, "0,9,3.0,\n0,19,2.0,\n0,29,99.0,\n0,29,,5.0\n")
    log(tmp_path, 20, "0,29,1.5,\n0,39,1.0,\n")
    (curve,) = read_curves(tmp_path)  # of valid/loss nothing is left
    assert (curve.training, curve.system, curve.tag) == ("sisdr/seed1", "sisdr", "train/loss")
    assert curve.steps == (9, 19, 29, 39)
    assert curve.values == (3.0, 2.0, 1.5, 1.0)


def test_starts_are_ordered_by_number(tmp_path):
    log(tmp_path, 0, "0,9,3.0,\n")
    log(tmp_path, 1000, "0,1009,1.0,\n")
    log(tmp_path, 200, "0,209,2.0,\n0,1009,88.0,\n")
    (curve,) = read_curves(tmp_path)
    assert curve.values == (3.0, 2.0, 1.0)


def test_what_is_not_finite_is_left_out(tmp_path):
    log(tmp_path, 0, "0,9,nan,\n0,19,2.0,\n")
    (curve,) = read_curves(tmp_path)
    assert curve.steps == (19,)


def test_a_broken_line_is_named(tmp_path):
    log(tmp_path, 0, "0,9,3.0,\n0,x,2.0,\n")
    with pytest.raises(UserError, match=r"metrics\.csv:3: not a line of metrics"):
        read_curves(tmp_path)


def test_no_trainings_no_curves(tmp_path):
    assert read_curves(tmp_path) == []


@pytest.mark.slow
def test_tensorboard_where_there_is_no_csv(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    folder = tmp_path / "finetune/ae/seed2/tensorboard"
    with SummaryWriter(str(folder)) as writer:
        for step, value in ((9, 2.0), (19, 1.0)):
            writer.add_scalar("train/loss", value, step)
    (curve,) = read_curves(tmp_path)
    assert curve.training == "ae/seed2"
    assert dict(zip(curve.steps, curve.values, strict=True)) == {9: 2.0, 19: 1.0}
