"""utils/settings.sh: what the options of run.sh come to, and what is refused at once."""

from __future__ import annotations

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def bash(script: str, folder: Path = REPOSITORY) -> str:
    sourced = f". {REPOSITORY}/utils/stage.sh; . {REPOSITORY}/utils/settings.sh"
    text = f"set -euo pipefail\n{sourced}\nrecipe=mini_whamr\n{script}"
    command = ["bash", "-c", text]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout


def test_files_are_hashed_wherever_experiments_lie(tmp_path: Path) -> None:
    changes = """
        find_folders; mkdir -p $done; echo 1 >$done/data; before=$(stage_keys "$done/data")
        echo 2 >$done/data; stage_change "$before" "$(stage_keys "$done/data")"
    """
    for exp in ("", "lr=3", "runs/lr=3", f"{tmp_path}/lr=4", "x=1/lr=3"):
        assert bash(f"exp={exp}; {changes}", tmp_path).endswith("/.done/data has changed\n")


def test_an_unknown_name_is_told_those_of_all_folders(tmp_path: Path) -> None:
    (tmp_path / "conf/separator").mkdir(parents=True)
    (tmp_path / "conf/separator/tiny.yaml").touch()
    told = bash(f"exp={tmp_path}; find_folders; (layers list separator/none) 2>&1 || true")
    names = [path.stem for path in (REPOSITORY / "conf/separator").glob("*.yaml")]
    assert told.endswith(
        f"unknown separator 'none' (there are: {' '.join(sorted([*names, 'tiny']))})\n"
    )
