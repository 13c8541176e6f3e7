"""utils/stage.sh, through a recipe of two stages."""

import subprocess
from pathlib import Path

import pytest

UTILS = Path(__file__).resolve().parents[2] / "utils"

RECIPE = f"""
set -euo pipefail
stage=${{1:-1}} stop_stage=2
. {UTILS}/stage.sh
if stage_wanted 1 && ! stage_is_done out/one.done text="$TEXT" a.yaml; then
    log "make one"
    [ -z "${{BREAK:-}}" ]
    mark_stage out/one.done
fi
if stage_wanted 2; then
    stage_needs 1 out/one.done
    if ! stage_is_done out/two.done $KEYS out/one.done; then
        log "make two"
        mark_stage out/two.done
    fi
fi
"""


class Recipe:
    """A folder with the recipe's files, and a call of the recipe in it."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "a.yaml").write_text("a: 1\n")
        self.environment = {"TEXT": "x", "KEYS": "lr=1", "PATH": "/usr/bin:/bin"}

    def __call__(self, *arguments, status=0, **environment):
        done = subprocess.run(
            ["bash", "-c", RECIPE, "recipe", *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            cwd=self.folder,
            env=self.environment | environment,
        )
        assert done.returncode == status, done.stderr
        if status == 2:
            return done.stderr.splitlines()
        return [line.split("] ", 1)[1] for line in done.stdout.splitlines()]


@pytest.fixture
def recipe(tmp_path):
    return Recipe(tmp_path)


BOTH_DONE = ["stage 1: complete (out/one.done)", "stage 2: complete (out/two.done)"]


def test_second_call_does_nothing(recipe):
    assert recipe() == ["stage 1: make one", "stage 2: make two"]
    assert recipe() == BOTH_DONE
    assert not list(recipe.folder.rglob("*.part"))


def test_broken_stage_is_taken_up_again(recipe):
    recipe(status=1, BREAK="yes")
    assert not (recipe.folder / "out").exists()
    assert recipe()[0] == "stage 1: make one"


def test_changed_option_is_named_and_runs_what_follows_again(recipe):
    recipe()
    assert recipe(TEXT="x = y") == [
        "stage 1: runs again: text was 'x' and is 'x = y'",
        "stage 1: make one",
        "stage 2: runs again: out/one.done has changed",
        "stage 2: make two",
    ]
    assert recipe(TEXT="x = y") == BOTH_DONE


def test_changed_file_is_named(recipe):
    recipe()
    (recipe.folder / "a.yaml").write_text("a: 2\n")
    assert recipe()[0] == "stage 1: runs again: a.yaml has changed"


def test_touched_file_is_not_a_change(recipe):
    recipe()
    (recipe.folder / "a.yaml").write_text("a: 1\n")
    assert recipe() == BOTH_DONE


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("lr=1 steps=2", "it depends on steps now"),
        ("", "it no longer depends on lr"),
        ("lr=", "lr was '1' and is ''"),
    ],
)
def test_added_and_removed_keys_are_named(recipe, keys, reason):
    recipe()
    assert recipe("2", KEYS=keys) == [f"stage 2: runs again: {reason}", "stage 2: make two"]


def test_marker_that_no_longer_holds_does_not_come_back(recipe):
    recipe()
    recipe(status=1, TEXT="y", BREAK="yes")  # overwrote half of what the marker vouched for
    assert recipe()[0] == "stage 1: make one"


def test_keys_are_those_of_the_start(recipe):
    edited = RECIPE.replace('log "make one"', "echo 'a: 3' >a.yaml")
    command = ["bash", "-c", edited, "recipe"]
    subprocess.run(command, cwd=recipe.folder, env=recipe.environment, check=True, timeout=20)
    assert recipe()[0] == "stage 1: runs again: a.yaml has changed"


def test_stage_out_of_turn_says_what_comes_first(recipe):
    assert recipe("2", status=2) == [
        "recipe: stage 2: stages 0-1 come first (there is no out/one.done); begin with --stage 0"
    ]


def test_missing_file_is_named(recipe):
    (recipe.folder / "a.yaml").unlink()
    assert recipe(status=2) == [
        "recipe: stage 1: there is no file a.yaml, on which the stage depends"
    ]


OUTPUT = f"""
set -euo pipefail
stage=1 stop_stage=1 dry_run=${{1:-false}}
. {UTILS}/stage.sh
stage_wanted 1
once out/one "make one" text=x output=made/a output="made/b c" -- ./one.sh
"""


def test_what_is_no_longer_there_is_made_again(recipe):
    script = recipe.folder / "one.sh"
    script.write_text("#!/bin/sh\n# Writes both.\nmkdir -p made\ntouch made/a 'made/b c'\n")
    script.chmod(0o755)

    def run(dry="false"):
        done = subprocess.run(
            ["bash", "-c", OUTPUT, "recipe", dry],
            capture_output=True,
            text=True,
            timeout=20,
            cwd=recipe.folder,
            env=recipe.environment,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return [line.split("] ", 1)[-1] for line in done.stdout.splitlines()]

    assert run() == ["stage 1: make one"]
    marker = (recipe.folder / "out/one").read_text()
    assert marker == "text=x\n"
    assert run() == ["stage 1: complete (out/one)"]
    (recipe.folder / "made/b c").unlink()
    assert run("true") == [
        "stage 1: to do again, for there is no made/b c: make one",
        "    Writes both.",
    ]
    assert run() == ["stage 1: runs again: there is no made/b c", "stage 1: make one"]
    assert (recipe.folder / "out/one").read_text() == marker
    assert run() == ["stage 1: complete (out/one)"]


DRY = f"""
set -euo pipefail
stage=1 stop_stage=3 dry_run=${{1:-true}}
. {UTILS}/stage.sh
if stage_wanted 1; then once out/one "make one" text="$TEXT" -- ./one.sh; fi
if stage_wanted 2; then stage_needs 1 out/one; once out/two "make two" out/one -- ./two.sh; fi
if stage_wanted 3; then once out/three "make three" missing.yaml -- ./two.sh; fi
"""


def test_a_dry_run_says_what_there_is_to_do_and_touches_nothing(recipe):
    for name in ("one", "two"):
        script = recipe.folder / f"{name}.sh"
        script.write_text(
            f"#!/bin/sh\n# Writes {name}, 3 GB.\n# Called by run.sh.\n\n# not this\ntouch {name}\n"
        )
        script.chmod(0o755)
    before = sorted(recipe.folder.rglob("*"))

    def dry(**environment):
        done = subprocess.run(
            ["bash", "-c", DRY, "recipe"],
            capture_output=True,
            text=True,
            timeout=20,
            cwd=recipe.folder,
            env=recipe.environment | environment,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return [line.split("] ", 1)[-1] for line in done.stdout.splitlines()]

    plan = ["    Writes one, 3 GB.", "    Writes two, 3 GB."]
    assert dry() == [
        *("stage 1: to do: make one", plan[0]),
        *("stage 2: to do: make two", plan[1]),
        *("stage 3: to do: make three", plan[1]),
    ]
    assert sorted(recipe.folder.rglob("*")) == before
    command = ["bash", "-c", DRY, "recipe", "false"]
    subprocess.run(command, cwd=recipe.folder, env=recipe.environment, timeout=20)
    assert dry()[:2] == ["stage 1: complete: make one", "stage 2: complete: make two"]
    assert dry(TEXT="y") == [
        *("stage 1: to do again, for text was 'x' and is 'y': make one", plan[0]),
        *("stage 2: to do again, for out/one will change: make two", plan[1]),
        *("stage 3: to do: make three", plan[1]),
    ]
