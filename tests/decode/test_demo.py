"""The demo, from a file that is dropped on it to streams and words."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from browser import NAMES, browser_tab, find_browser
from torch import nn

from sepasr.bin.main import main
from sepasr.decode.demo import separate_and_read
from sepasr.decode.guard import Hypothesis
from sepasr.decode.recogniser import Recogniser, RecogniserConfig
from sepasr.decode.recording import Recording, separate_recording
from sepasr.errors import UserError
from sepasr.separator.model import Separator, SeparatorConfig

FS = 22_050
BROWSER = find_browser()
needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="Gradio is not installed (extra demo)"
)


class Counting:
    """Reads in every stream how long it is, in tenths of a second."""

    identity = {"software": "none"}  # noqa: RUF012

    def decode(self, waveforms, max_tokens):
        return [Hypothesis(f"{len(w) / 1600:.0f} tenths", 2, cut=False) for w in waveforms]


@pytest.fixture
def separator() -> Separator:
    torch.manual_seed(0)
    return Separator(SeparatorConfig(width=16, hidden=16, layers=1)).eval()


@pytest.fixture
def recogniser() -> Recogniser:
    return Recogniser(RecogniserConfig("counting", "none", "none", "none"), Counting())


@pytest.fixture
def recording(tmp_path):
    """Two seconds in two channels, at a rate that is nobody's."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((2 * FS, 2))
    soundfile.write(tmp_path / "meeting.wav", noise, FS, subtype="PCM_16")
    return tmp_path / "meeting.wav"


def test_streams_come_first_then_one_transcript_after_the_other(separator, recogniser, recording):
    steps = list(separate_and_read(separator, recogniser, recording))
    assert [step.texts for step in steps] == [
        (),
        ("20 tenths",),
        ("20 tenths", "20 tenths"),
    ]
    for step in steps:
        assert step.fs == FS
        assert [(stream.shape, stream.dtype) for stream in step.streams] == [
            ((2 * FS,), np.int16)
        ] * 2
    assert "stream 2 of 2" in steps[1].status
    assert steps[-1].status.startswith("Done: 2.0 s")


class Leaking(nn.Module):
    """All that is said is in the first stream; the second has it 26 dB down."""

    fs, num_speakers = 16_000, 2

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, mixture):
        return torch.stack([0.95 * mixture, 0.05 * mixture])


def test_what_leaks_is_not_read(recogniser, recording):
    assert list(separate_and_read(Leaking(), recogniser, recording))[-1].texts == ("20 tenths", "")


def test_a_file_that_is_no_audio(separator, recogniser, tmp_path):
    (tmp_path / "song.wav").write_text("la la la")
    with pytest.raises(UserError, match="cannot be read as audio"):
        next(separate_and_read(separator, recogniser, tmp_path / "song.wav"))


def test_without_gradio_the_remedy_is_named(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "sepasr.decode.demo.find_spec",
        lambda name: None if name == "gradio" else found(name),
    )
    assert main(["demo"]) == 2
    assert "tools/install.sh --extras demo" in capsys.readouterr().err


def test_without_gradio_nothing_of_it_is_loaded():
    """In a process of its own: others may have loaded it here."""
    code = (
        "import sys\n"
        "import sepasr.decode.demo as demo\n"
        "from sepasr.bin.main import main\n"
        "found = demo.find_spec\n"
        "demo.find_spec = lambda name: None if name == 'gradio' else found(name)\n"
        "assert main(['demo']) == 2\n"
        "assert 'gradio' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tools/install.sh --extras demo" in done.stderr


@pytest.fixture
def url(separator, recogniser, tmp_path, monkeypatch):
    """The demo's address, while it runs."""
    from sepasr.decode.demo import build_page, launch

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    page = build_page(separator, recogniser)
    yield launch(page, None, wait=False)
    page.close()


@needs_gradio
@pytest.mark.slow
def test_a_file_end_to_end(url, separator, recording, tmp_path):
    from gradio_client import Client, handle_file

    assert url.startswith("http://127.0.0.1:")
    client = Client(url, verbose=False, analytics_enabled=False)
    status, first, words, second, more = client.predict(
        handle_file(recording), api_name="/separate"
    )
    assert status.startswith("Done")
    assert (words, more) == ("20 tenths", "20 tenths")
    expected = separate_recording(separator, Recording("m", str(recording)), tmp_path / "streams")
    for path, same in zip((first, second), expected, strict=True):
        samples, fs = soundfile.read(path)
        assert fs == FS
        np.testing.assert_allclose(samples, soundfile.read(same)[0], atol=1e-4)


@needs_gradio
@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(NAMES)} is on PATH")
def test_a_file_end_to_end_in_a_browser(url, recording, tmp_path):
    with browser_tab(str(BROWSER), tmp_path / "profile") as tab:
        tab.open(url)
        tab.wait_for("document.querySelector('input[type=file]') !== null")
        root = tab.call("DOM.getDocument")["root"]["nodeId"]
        node = tab.call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
        tab.call("DOM.setFileInputFiles", nodeId=node, files=[str(recording)])
        tab.wait_for(
            "document.body.innerText.includes('meeting') || "
            "document.querySelector('audio') !== null"
        )
        button = "[...document.querySelectorAll('button')].find((b) => b.innerText === 'Separate')"
        tab.run(f"{button}.click()")
        tab.wait_for("document.querySelector('#status').innerText.startsWith('Done')")
        texts = "[...document.querySelectorAll('textarea')].map((t) => t.value)"
        assert tab.run(texts) == ["20 tenths", "20 tenths"]
        assert [r for r in tab.requests if not r.startswith(url)] == []
