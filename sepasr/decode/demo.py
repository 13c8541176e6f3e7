"""A page on this machine that separates what is dropped on it: streams to hear, words to read."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sepasr.data.audio import read_audio, read_resampled
from sepasr.decode.progress import Bars
from sepasr.decode.recogniser import Recogniser
from sepasr.decode.recording import Recording, separate_recording
from sepasr.decode.transcribe import find_segments, read_segments
from sepasr.errors import UserError
from sepasr.separator.model import Separator

if TYPE_CHECKING:
    import gradio

HOST = "127.0.0.1"
KEPT_S = 3600
"""How long recordings and streams are kept; what is left goes when the demo ends."""
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
INTRODUCTION = """# Separate speech
Drop a recording of {speakers} people who talk at once, or record one. It is separated into
{speakers} streams, and **{recogniser}** writes down what it hears in each. Nothing leaves this
machine."""


@dataclass(frozen=True)
class Separated:
    """How far a recording is.

    Attributes:
        status: what is being done, or how long it took.
        fs: sampling rate of the streams, the recording's own, in Hz.
        streams: one per speaker, (samples,) int16.
        texts: what was read so far, the first streams' first.
    """

    status: str
    fs: int
    streams: tuple[np.ndarray, ...]
    texts: tuple[str, ...] = ()


def check_gradio() -> None:
    """Refuse to go on without Gradio.

    Raises:
        UserError: it is not installed.
    """
    if find_spec("gradio") is None:
        remedy = "tools/install.sh --extras demo"
        raise UserError("the demo needs Gradio, which is not installed", remedy=remedy)


def separate_and_read(
    separator: Separator, recogniser: Recogniser, source: str | Path
) -> Iterator[Separated]:
    """Separate a recording, then read one stream after the other.

    Gives the streams as soon as they are there, then once more after each transcript.

    Args:
        separator: in evaluation mode.
        recogniser: reads the streams.
        source: an audio file of any rate and number of channels.

    Raises:
        UserError: the file can't be read.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        with closing(Bars()) as bars:
            recording = Recording("stream", str(source))
            paths = separate_recording(separator, recording, folder, hook=bars)
        fs = read_audio(paths[0], stop=1)[1]
        heard = [read_resampled(path, fs, fs) for path in paths]
        streams = tuple(np.round(32767 * stream).astype(np.int16) for stream in heard)
        # As `sepasr transcribe`: what leaks from another speaker is not read.
        spans = find_segments(paths, fs)
        texts: tuple[str, ...] = ()
        for number in range(1, len(paths) + 1):
            status = f"Reading stream {number} of {len(paths)} with {recogniser.name} …"
            yield Separated(status, fs, streams, texts)
            mine = [span for span in spans if span[2] == number]
            said = read_segments(recogniser, paths, fs, mine)
            texts = (*texts, " ".join(one.text for one in said))
        took = time.monotonic() - began
        status = f"Done: {len(streams[0]) / fs:.1f} s of sound in {took:.1f} s."
        yield Separated(status, fs, streams, texts)


def build_page(separator: Separator, recogniser: Recogniser) -> gradio.Blocks:
    """The page: a place for a recording, and for each speaker a player and a text."""
    # Read when Gradio is imported: it counts its users otherwise, and so does what it is made of.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import gradio

    speakers = separator.num_speakers

    def process(source: str | None, progress: Any = gradio.Progress(track_tqdm=True)) -> Any:  # noqa: B008
        nothing = (None, "")
        if source is None:
            yield ["Drop a recording first.", *nothing * speakers]
            return
        progress(0, desc="separating")
        yield ["Separating …", *nothing * speakers]
        try:
            for done in separate_and_read(separator, recogniser, source):
                texts = [*done.texts, *[""] * (speakers - len(done.texts))]
                pairs = zip(done.streams, texts, strict=True)
                parts = [part for s, text in pairs for part in ((done.fs, s), text)]
                progress(len(done.texts) / speakers, desc="reading")
                yield [done.status, *parts]
        except UserError as error:
            raise gradio.Error(str(error), print_exception=False) from None

    with gradio.Blocks(
        title="sepasr demo", analytics_enabled=False, delete_cache=(KEPT_S, KEPT_S)
    ) as page:
        words = {"speakers": speakers, "recogniser": recogniser.name}
        gradio.Markdown(INTRODUCTION.format(**words))
        source = gradio.Audio(
            sources=["upload", "microphone"],
            type="filepath",
            label="Recording",
            buttons=["download"],
        )
        button = gradio.Button("Separate", variant="primary")
        status = gradio.Markdown("", elem_id="status")
        outputs: list[gradio.components.Component] = [status]
        with gradio.Row():
            for speaker in range(1, speakers + 1):
                with gradio.Column(min_width=280):
                    outputs += [
                        gradio.Audio(
                            label=f"Speaker {speaker}", interactive=False, buttons=["download"]
                        ),
                        gradio.Textbox(label=f"What speaker {speaker} says", interactive=False),
                    ]
        button.click(
            process, source, outputs, concurrency_limit=1, api_name="separate", show_progress="full"
        )
    return page


def launch(page: gradio.Blocks, port: int | None, *, wait: bool = True) -> str:
    """Show the page to browsers on this machine, and to nobody else.

    Args:
        page: of :func:`build_page`.
        port: to listen on; None for the first free one from 7860.
        wait: until interrupted; otherwise the page is served in the background.

    Returns:
        The page's address.

    Raises:
        OSError: the port is taken.
    """
    import gradio

    _, url, _ = page.launch(
        server_name=HOST,
        server_port=port,
        share=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        footer_links=[],
        inbrowser=False,
        prevent_thread_lock=True,
        quiet=True,
        theme=gradio.themes.Default(font=FONTS, font_mono=("ui-monospace", "monospace")),
    )
    if wait:
        print(f"the demo is at {url} (Ctrl-C ends it)", flush=True)
        page.block_thread()
    return url
