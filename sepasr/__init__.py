"""Speech separation that is fine-tuned for recognisers, without transcripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sepasr.separator.model import Separator

__all__ = ["Separator"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: torch and espnet take seconds that most commands need not pay.
    if name == "Separator":
        from sepasr.separator.model import Separator

        return Separator
    raise AttributeError(f"module 'sepasr' has no attribute '{name}'")
