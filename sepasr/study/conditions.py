"""What makes a mixture hard, as tables and plots call it."""

from __future__ import annotations

LABELS = {
    "snr_db": "speech over noise (dB)",
    "t60_s": "reverberation time T60 (s)",
    "overlap": "both speak (share of the time)",
    "level_db": "level of the louder over the softer (dB)",
    "voices_db": "voices differ by (dB)",
}
"""By the name of a field of :class:`sepasr.study.difficulty.Conditions`."""
CONDITIONS = tuple(LABELS)
