"""Transcripts of a recording as files: text, SRT, WebVTT, CTM and SegLST."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """Words of one speaker without a pause.

    Attributes:
        start_s: where in the recording they begin, in seconds.
        end_s: where they end.
        speaker: the number of the stream, from 1.
        text: the words, with single spaces.
    """

    start_s: float
    end_s: float
    speaker: int
    text: str


def session_id(name: str) -> str:
    """A recording's name as an id that holds no white space."""
    return "_".join(name.split())


def to_text(name: str, said: Sequence[Said]) -> str:
    """A line per segment: the recording, when it is said, by whom, and the words."""
    return "".join(
        f"{name} {_clock(one.start_s, '.')} speaker {one.speaker}: {one.text}\n" for one in said
    )


def to_srt(name: str, said: Sequence[Said]) -> str:
    """SubRip: numbered captions, the speaker before the words."""
    return "\n".join(
        f"{number}\n{_clock(one.start_s, ',')} --> {_clock(one.end_s, ',')}\n"
        f"Speaker {one.speaker}: {one.text}\n"
        for number, one in enumerate(said, 1)
    )


def to_vtt(name: str, said: Sequence[Said]) -> str:
    """WebVTT (W3C): the speaker is the voice of a caption."""
    cues = [
        f"\n{_clock(one.start_s, '.')} --> {_clock(one.end_s, '.')}\n"
        f"<v Speaker {one.speaker}>{_escaped(one.text)}\n"
        for one in said
    ]
    return "WEBVTT\n" + "".join(cues)


def to_ctm(name: str, said: Sequence[Said]) -> str:
    """NIST's CTM: recording, channel (the speaker's number), start, duration and word per line.

    Recognisers give no times of words: those of a segment share its time by their length in
    characters.
    """
    lines = []
    for one in sorted(said, key=lambda one: (one.speaker, one.start_s)):
        words = one.text.split()
        each_s = (one.end_s - one.start_s) / max(1, sum(map(len, words)))
        at = one.start_s
        for word in words:
            duration = each_s * len(word)
            lines.append(f"{session_id(name)} {one.speaker} {at:.3f} {duration:.3f} {word}\n")
            at += duration
    return "".join(lines)


def to_seglst(name: str, said: Sequence[Said]) -> str:
    """SegLST, the JSON that meeteval reads."""
    rows = [
        {
            "session_id": session_id(name),
            "speaker": str(one.speaker),
            "start_time": one.start_s,
            "end_time": one.end_s,
            "words": one.text,
        }
        for one in said
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


FORMATS: dict[str, tuple[str, Callable[[str, Sequence[Said]], str]]] = {
    "text": (".txt", to_text),
    "srt": (".srt", to_srt),
    "vtt": (".vtt", to_vtt),
    "ctm": (".ctm", to_ctm),
    "seglst": (".seglst.json", to_seglst),
}
"""The end of a file's name, and what writes it, by name of the format."""


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
