"""Private state of Lightning that training has to correct.

None of this is part of its interface, so ``setup.py`` allows only versions that it was tried with;
``tests/train/test_fit.py`` fails where one of them has moved.
"""

from __future__ import annotations

from typing import Any

import lightning


def number_log_by_steps(trainer: lightning.Trainer) -> None:
    """Number the lines of the log by optimiser steps.

    Lightning counts one too many on going on from a training that ended with a validation.
    """
    trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


def leave_next_validation_out(trainer: lightning.Trainer) -> None:
    """Let a training that is told to stop do so without the validation that Lightning would make.

    There may be no time for it.
    """
    trainer.should_stop = True
    trainer.fit_loop.epoch_loop._skip_next_val = True


def count_batches(checkpoint: dict[str, Any], accumulation: int) -> None:
    """Set a checkpoint's count of batches to what its steps take at the present accumulation.

    Lightning counts batches, and finds by their number when a step is complete and when it is to
    validate; each step may have taken fewer or more of them before.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        more = checkpoint["global_step"] * accumulation - counts["ready"]
        for name in counts:
            counts[name] += more
