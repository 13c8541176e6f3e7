"""utils/parse_options.sh, through a script that sources it."""

import subprocess
from pathlib import Path

import pytest

UTILS = Path(__file__).resolve().parents[2] / "utils"

SCRIPT = r"""#!/usr/bin/env bash
# Separate and count.
# (a second line)
set -euo pipefail
ROOT=/nowhere

# Stages
stage=0               # first stage to run
stop_stage=5          # last stage to run

# Training
from_scratch=false    # train the starting points as well
encoders="a b"        # one system for each
                      # (names of conf/encoder)
seeds="1"             # any number of them
lr=1e-4               # learning rate
name=mini
jobs=$((1 + 1))       # parallel jobs
empty=

# shellcheck source=/dev/null
. UTILS/parse_options.sh
late=1
for variable in stage stop_stage from_scratch encoders seeds lr name jobs empty late; do
    echo "$variable=${!variable}"
done
echo "rest=$*"
"""

DEFAULTS = {
    "stage": "0",
    "stop_stage": "5",
    "from_scratch": "false",
    "encoders": "a b",
    "seeds": "1",
    "lr": "1e-4",
    "name": "mini",
    "jobs": "2",
    "empty": "",
    "late": "1",
    "rest": "",
}


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("options") / "recipe.sh"
    path.write_text(SCRIPT.replace("UTILS", str(UTILS)))
    return path


def call(script, *arguments, folder="/"):
    return subprocess.run(
        ["bash", str(script), *arguments], capture_output=True, text=True, timeout=20, cwd=folder
    )


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ([], {}),
        (["--stage", "3"], {"stage": "3"}),
        (["--stage=3", "--stop-stage", "-1"], {"stage": "3", "stop_stage": "-1"}),
        (["--from-scratch=true"], {"from_scratch": "true"}),
        (["--encoders", "c  d=e"], {"encoders": "c  d=e"}),
        (["--encoders="], {"encoders": ""}),
        (["--encoders", ""], {"encoders": ""}),
        (["--encoders=--x"], {"encoders": "--x"}),
        (["--seeds", "1 2 3"], {"seeds": "1 2 3"}),
        (["--seeds=1\n2\n3"], {"seeds": "1 2 3"}),
        (["--lr", "2.5e-5"], {"lr": "2.5e-5"}),
        (["--name", "$(echo `id`)'\""], {"name": "$(echo `id`)'\""}),
        (["--jobs", "max"], {"jobs": "max"}),
        (["--empty", "full"], {"empty": "full"}),
        (["--stage", "1", "--stage", "2"], {"stage": "2"}),
        (["--stage", "1", "in", "--out"], {"stage": "1", "rest": "in --out"}),
        (["--stage", "1", "--", "--out"], {"stage": "1", "rest": "--out"}),
    ],
)
def test_values_reach_the_variables(script, arguments, changed):
    done = call(script, *arguments)
    assert done.stderr == ""
    assert done.returncode == 0
    assert dict(line.split("=", 1) for line in done.stdout.splitlines()) == DEFAULTS | changed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--encoder", "x"], "unknown option --encoder (did you mean --encoders? see --help)"),
        (["--encoder"], "unknown option --encoder (did you mean --encoders? see --help)"),
        (
            ["--form-scratch", "true"],
            "unknown option --form_scratch (did you mean --from_scratch? see --help)",
        ),
        (["--colour=red"], "unknown option --colour (see --help)"),
        (["--late", "2"], "unknown option --late (see --help)"),
        (["--ROOT", "/"], "unknown option --ROOT (see --help)"),
        (["--PATH", "/"], "unknown option --PATH (see --help)"),
        (["-stage", "1"], "unknown option -stage (options begin with two dashes, see --help)"),
        (["--stage"], "--stage needs a value (now '0')"),
        (["--encoders", "--stage", "1"], "--encoders needs a value (now 'a b')"),
        (["--from_scratch", "yes"], "--from_scratch is true or false, not 'yes'"),
        (["--from_scratch="], "--from_scratch is true or false, not ''"),
        (["--stage", "two"], "--stage is an integer, not 'two'"),
        (["--stage", "1.5"], "--stage is an integer, not '1.5'"),
    ],
)
def test_mistake_is_one_line_and_status_2(script, arguments, message):
    done = call(script, *arguments)
    assert done.stderr == f"recipe.sh: {message}\n"
    assert done.stdout == ""
    assert done.returncode == 2


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_the_block_of_options(script, flag):
    done = call(script, "--stage", "3", flag)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"Usage: {script} [--name value]...",
        "",
        "Separate and count.",
        "(a second line)",
        "",
        "Options and their defaults:",
        "",
        " Stages:",
        "  --stage 0                             first stage to run",
        "  --stop_stage 5                        last stage to run",
        "",
        " Training:",
        "  --from_scratch false                  train the starting points as well",
        '  --encoders "a b"                      one system for each',
        "                                        (names of conf/encoder)",
        "  --seeds 1                             any number of them",
        "  --lr 1e-4                             learning rate",
        "  --name mini",
        "  --jobs 2                              parallel jobs",
        '  --empty ""',
    ]


def test_script_may_change_folder_first(script):
    moving = script.with_name("moving.sh")
    moving.write_text(script.read_text().replace("ROOT=", 'cd "$(dirname "$0")"\nROOT='))
    above = script.parent.parent
    done = call(moving.relative_to(above), "--stage", "4", folder=above)
    assert done.stderr == ""
    assert done.stdout.startswith("stage=4\n")


def test_an_ampersand_in_a_value_is_itself(script, tmp_path):
    path = tmp_path / "recipe.sh"
    path.write_text(script.read_text() + 'list=(a b)\necho "${list[*]/#/$name/}"\n')
    assert call(path, "--name", "R&D").stdout.splitlines()[-1] == "R&D/a R&D/b"


@pytest.fixture
def with_recipes(script, tmp_path):
    """The script with an option that names a file of further ones; and two such files."""
    recipes = tmp_path / "egs"
    for name, text in {
        "mini": "# Corpus\nsizes=1  # how much\n",
        "large": "#!/bin/sh\nlr=2e-7  # as published\n# Corpus\nfolder=/x # its folder\n",
    }.items():
        (recipes / name).mkdir(parents=True)
        (recipes / name / "options.sh").write_text(text)
    text = script.read_text()
    text = text.replace(
        "# shellcheck source", f"Options_of=(name {recipes}/ /options.sh)\n# shellcheck source"
    )
    text += 'echo "more=${option_names_more[*]}"\necho "folder=${folder-}"\n'
    path = tmp_path / "recipe.sh"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ([], {"more": "sizes", "folder": ""}),
        (["--name", "large"], {"name": "large", "lr": "2e-7", "folder": "/x", "more": "folder"}),
        (
            ["--lr=3", "--folder", "a b", "--name=large"],
            {"name": "large", "lr": "3", "folder": "a b", "more": "folder"},
        ),
    ],
)
def test_an_option_names_a_file_of_further_options(with_recipes, arguments, changed):
    done = call(with_recipes, *arguments)
    assert (done.stderr, done.returncode) == ("", 0)
    assert dict(line.split("=", 1) for line in done.stdout.splitlines()) == DEFAULTS | changed


def test_further_options_are_those_of_the_file_named(with_recipes):
    done = call(with_recipes, "--name", "mini", "--folder", "/y")
    assert done.stderr == "recipe.sh: unknown option --folder (see --help)\n"
    done = call(with_recipes, "--name", "huge", "--stage", "3")
    assert done.stderr == "recipe.sh: unknown name 'huge' (there are: large mini)\n"
    assert done.returncode == 2


def test_help_shows_further_options_and_their_defaults(with_recipes):
    shown = call(with_recipes, "--name", "large", "--help").stdout.splitlines()
    assert "  --lr 2e-7                             learning rate" in shown
    assert shown[-3:] == ["", " Corpus:", "  --folder /x                           its folder"]
