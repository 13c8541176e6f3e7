"""tools/install.sh, with a stub in the place of Python and pip that writes down what it is told."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "cat", "cp", "cut", "dirname", "ls", "mkdir", "mv", "rm", "sed", "tail", "tr")
SUMS = ("sha256sum", "shasum")  # GNU's and macOS's
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH = next(
    line.removeprefix("torch==")
    for line in (ROOT / "tools/constraints.txt").read_text().splitlines()
    if line.startswith("torch==")
)

GPU = "#!/bin/bash\necho 'GPU 0: NVIDIA H100 (UUID: GPU-1)'\n"
PYTHON = r"""#!/bin/bash
case "$*" in
    "-c import sys; print"*)
        if [[ $0 == */.venv/* ]]; then echo 3.11; else echo "${0##*python}"; fi ;;
    "-c import sys; "*) exit "${STUB_UNFIT:-0}" ;;
    *sysconfig*) [[ $0 == */python3.12 ]] && echo "$STUB/include3.12" || echo "$STUB/include" ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo >"$3/pyvenv.cfg" ;;
    "-m pip --version") [[ $0 == */.venv/* ]] ;;
    "-m pip index versions "*) echo "Available versions: 2.99.0, $STUB_VERSIONS" ;;
    "-m pip show torch") cat "$STUB/torch" ;;
    "-m pip uninstall "*) echo "uninstall ${*:5}" >>"$STUB/calls" ;;
    "-m pip install "*)
        echo "${*:6}" >>"$STUB/calls"
        echo "pip is told ${*:6}"
        [[ -z $STUB_BROKEN || "$*" != *$STUB_BROKEN* ]] || { echo "No space left" >&2; exit 1; }
        ;;
    "-I - "*) cat >/dev/null ;;
    "--version") echo "Python 3.11.7" ;;
esac
"""


class Machine:
    """A copy of the installer, and all that its PATH leads to."""

    def __init__(self, folder):
        self.bin, self.root = folder / "bin", folder / "root"
        self.venv, self.calls_file = self.root / ".venv", folder / "calls"
        for name in ("tools", "utils"):
            shutil.copytree(ROOT / name, self.root / name)
        shutil.copy(ROOT / "setup.py", self.root)
        self.bin.mkdir()
        for tool in TOOLS + SUMS:
            if path := shutil.which(tool):
                (self.bin / tool).symlink_to(path)
        (folder / "include").mkdir()
        (folder / "include/Python.h").touch()
        for name in ("git", "g++"):
            self.add(name, "#!/bin/bash\n")
        self.add("uname", "#!/bin/bash\necho ${STUB_SYSTEM:-Linux}\n")
        self.add("python3.11", PYTHON)
        self.environment = {"PATH": str(self.bin), "STUB": str(folder), "STUB_VERSIONS": "2.13.0"}

    def add(self, name, text):
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def install(self, *arguments, status=0, **environment):
        self.calls_file.write_text("")
        done = subprocess.run(
            [str(self.root / "tools/install.sh"), *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            env=self.environment | environment,
        )
        assert done.returncode == status, done.stderr
        return done

    @property
    def calls(self):
        return self.calls_file.read_text().splitlines()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_order_and_second_call(machine):
    machine.install()
    torch, setuptools, sepasr, required, last = machine.calls
    assert torch == f"--no-deps --index-url {CPU_INDEX} torch=={TORCH}+cpu"
    assert setuptools == "setuptools"
    assert sepasr == f"--no-deps --no-build-isolation --editable {machine.root}"
    assert required == f"--requirement {machine.venv}/required.txt"
    assert last == f"--no-deps --requirement {machine.venv}/alone.txt"
    done = machine.install()
    assert machine.calls == []
    assert done.stdout + done.stderr == ""


def test_every_missing_thing_is_named(machine):
    for name in ("python3.11", "git", "g++"):
        (machine.bin / name).unlink()
    done = machine.install(status=2)
    assert [line.split(" (")[0] for line in done.stderr.splitlines()] == [
        "install.sh: missing: Python 3.10, 3.11 or 3.12",
        "install.sh: missing: git",
        "install.sh: missing: a C++ compiler, g++ or c++",
    ]
    assert not machine.venv.exists()


def test_python_that_does_not_fit(machine):
    done = machine.install("--python", "python3.11", status=2, STUB_UNFIT="1")
    assert done.stderr.startswith("install.sh: missing: Python 3.10, 3.11 or 3.12 (")


def test_missing_header(machine):
    header = Path(machine.environment["STUB"]) / "include/Python.h"
    header.unlink()
    done = machine.install(status=2)
    assert done.stderr == f"install.sh: missing: {header} (Debian and Ubuntu: python3.11-dev)\n"
    # Another one that has all is taken.
    machine.add("python3.12", PYTHON)
    done = machine.install(status=2)
    assert "python3.11-dev" in done.stderr
    complete = header.parent.with_name("include3.12") / "Python.h"
    complete.parent.mkdir()
    complete.touch()
    assert "an environment of Python 3.12 ... " in machine.install().stdout


def test_another_python_than_that_of_the_environment_is_refused(machine):
    machine.install()
    machine.add("python3.12", PYTHON)
    assert machine.install("--python", "python3.11").stdout == ""
    done = machine.install("--python", "python3.12", status=2)
    assert f"{machine.venv} is an environment of Python 3.11, not 3.12" in done.stderr
    done = machine.install("--python", "nowhere", status=2)
    assert done.stderr == "install.sh: --python nowhere: there is no such Python\n"
    assert machine.calls == []


def test_a_checkout_is_one_whatever_its_path(machine):
    machine.install()
    link = machine.root.with_name("link")
    link.symlink_to(machine.root)
    real, machine.root = machine.root, link
    machine.install()
    assert machine.calls == []
    machine.root = real
    machine.install()
    assert machine.calls == []


def test_a_gpu_that_the_build_cannot_use_is_told(machine):
    machine.install()
    machine.add("nvidia-smi", GPU)
    note = machine.install().stdout
    assert machine.calls == []
    assert "tools/install.sh --torch cuda" in note
    assert machine.install("--torch", "cpu").stdout == ""  # as it was asked for


@pytest.mark.skipif(shutil.which("flock") is None, reason="no flock here")
def test_two_at_once_take_turns(machine):
    (machine.bin / "flock").symlink_to(shutil.which("flock"))
    (machine.bin / "sleep").symlink_to(shutil.which("sleep"))
    slow = PYTHON.replace('"-m venv "*)', '"-m venv "*) sleep 1 &&')
    machine.add("python3.11", slow)
    machine.calls_file.write_text("")
    command = [str(machine.root / "tools/install.sh")]
    pipes = {"stdout": subprocess.PIPE, "text": True, "env": machine.environment}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]
    said = sorted((process.communicate(timeout=30)[0] for process in both), key=len)
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == "Waiting for another installation\n"
    assert len(machine.calls) == 5  # one of them installed


@pytest.mark.parametrize(
    ("versions", "gpu", "arguments", "call"),
    [
        (f"{TORCH}+cpu, {TORCH}", False, [], f"torch=={TORCH}+cpu"),
        (f"{TORCH}", False, [], f"--index-url {CPU_INDEX} torch=={TORCH}+cpu"),
        (f"{TORCH}", True, [], f"torch=={TORCH}"),
        (f"{TORCH}", True, ["--torch", "cpu"], f"--index-url {CPU_INDEX} torch=={TORCH}+cpu"),
        (f"{TORCH}", False, ["--torch", "cuda"], f"torch=={TORCH}"),
    ],
)
def test_source_of_torch(machine, versions, gpu, arguments, call):
    if gpu:
        machine.add("nvidia-smi", GPU)
    machine.install(*arguments, STUB_VERSIONS=versions)
    assert machine.calls[0] == f"--no-deps {call}"


def test_macos_has_one_build_only(machine):
    machine.install(STUB_SYSTEM="Darwin")
    assert machine.calls[0] == f"--no-deps torch=={TORCH}"


def test_another_build_replaces_the_one_that_is_there(machine):
    machine.install()
    (Path(machine.environment["STUB"]) / "torch").write_text(f"Version: {TORCH}+cpu\n")
    machine.install("--torch", "cpu")
    assert machine.calls == []
    machine.install("--torch", "cuda")
    assert machine.calls[:2] == ["uninstall torch torchaudio", f"--no-deps torch=={TORCH}"]
    machine.install("--extras", "test")
    assert machine.calls[1] == f"--no-deps torch=={TORCH}"


def test_extras_add_up(machine):
    machine.install("--extras", "mini")
    assert "the extras test,mini" in machine.install("--extras", "test").stdout
    for extras in ("mini", "test", "test,mini", "mini test"):
        machine.install("--extras", extras)
        assert machine.calls == []
    assert "the extras demo,onnx,test,mini" in machine.install("--extras", "demo onnx").stdout


def test_changed_constraints_install_again(machine):
    machine.install()
    with (machine.root / "tools/constraints.txt").open("a") as constraints:
        constraints.write("another==1\n")
    machine.install()
    assert len(machine.calls) == 5


def test_failure_is_shown_and_taken_up_again(machine):
    done = machine.install(status=2, STUB_BROKEN="--requirement")
    assert "what sepasr requires, with the extras mini ... failed" in done.stdout
    *log, message = done.stderr.splitlines()
    assert log[-1] == "No space left"
    assert message.startswith("install.sh: could not do: what sepasr requires")
    assert str(machine.venv / "install.log") in message
    machine.install()
    assert machine.calls[-1] == f"--no-deps --requirement {machine.venv}/alone.txt"
    machine.install()
    assert machine.calls == []


def test_what_was_chosen_outlasts_a_failure(machine):
    machine.install("--torch", "cuda", "--extras", "demo onnx")
    with (machine.root / "tools/constraints.txt").open("a") as constraints:
        constraints.write("another==1.0\n")
    machine.install(status=2, STUB_BROKEN="--requirement")
    done = machine.install()
    assert "torch, cuda build" in done.stdout
    assert "with the extras mini,demo,onnx" in done.stdout


def test_half_written_package_is_written_again(machine):
    packages = machine.venv / "lib/python3.11/site-packages"
    machine.install(status=2, STUB_BROKEN="--requirement")
    for name in ("whole", "half"):
        (packages / f"{name}-1.dist-info").mkdir(parents=True)
    (packages / "whole-1.dist-info/RECORD").touch()
    machine.install()
    assert [path.name for path in packages.iterdir()] == ["whole-1.dist-info"]


@pytest.mark.parametrize("name", ["draft.tex", "pyvenv.cfg", "install.log"])
def test_folder_of_something_else_is_left_alone(machine, tmp_path, name):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / name).touch()
    done = machine.install("--venv", str(tmp_path / "thesis"), status=2)
    assert "neither empty nor an environment of Python 3.10 to 3.12 (remove it" in done.stderr
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == [name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--extras", "maxi"],
            "install.sh: there is no extra 'maxi' (cuda mini demo dnsmos espnet onnx test)\n",
        ),
        (["--torch", "rocm"], "install.sh: --torch is auto, cpu or cuda, not 'rocm'\n"),
        (
            ["--extras", "mini", "demo"],
            "install.sh: unexpected 'demo' (options are --name value, a list in quotes; "
            "see --help)\n",
        ),
    ],
)
def test_bad_option(machine, arguments, message):
    assert machine.install(*arguments, status=2).stderr == message
    assert not machine.venv.exists()
