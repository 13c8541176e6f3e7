"""A handful of kills of real runs; tools/kill_test.py has as many as are asked for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "kill_test.py"
STAGES = ("simulate", "prepare", "finetune", "separate", "long")


@pytest.mark.slow
def test_what_was_killed_ends_as_if_it_had_not_been() -> None:
    done = subprocess.run(
        [sys.executable, TOOL, "--kills", "5", "--seed", "1", "--stages", *STAGES],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("5 kills of ")
    assert "DIFFERS" not in done.stdout
    killed = {line.split()[1] for line in lines if re.match(r" *\d+  \w+ +[\d.]+ of ", line)}
    assert killed == set(STAGES)
