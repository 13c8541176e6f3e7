"""Speech separation that is fine-tuned for recognisers, without transcripts."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sepasr.decode.recording import separate_recording
    from sepasr.encoder.base import build_encoder, load_encoder
    from sepasr.loss.embedding import EmbeddingLoss
    from sepasr.loss.signal import SignalLoss
    from sepasr.score.normalise import normalise
    from sepasr.score.wer import cpwer, orcwer
    from sepasr.separator.model import Separator

__version__ = "0.1.0"
__all__ = [
    "EmbeddingLoss",
    "Separator",
    "SignalLoss",
    "build_encoder",
    "cpwer",
    "load_encoder",
    "normalise",
    "orcwer",
    "separate_recording",
]

_HOMES = {
    "EmbeddingLoss": "sepasr.loss.embedding",
    "Separator": "sepasr.separator.model",
    "SignalLoss": "sepasr.loss.signal",
    "build_encoder": "sepasr.encoder.base",
    "cpwer": "sepasr.score.wer",
    "load_encoder": "sepasr.encoder.base",
    "normalise": "sepasr.score.normalise",
    "orcwer": "sepasr.score.wer",
    "separate_recording": "sepasr.decode.recording",
}


def __getattr__(name: str) -> Any:
    # Imported when asked for: torch and espnet take seconds that most commands need not pay.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sepasr' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
