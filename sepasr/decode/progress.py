"""How far a long piece of work is: a bar for people, a hook for other programs."""

from __future__ import annotations

from typing import Protocol

from tqdm import tqdm


class Hook(Protocol):
    """Is told how far the work on a recording is."""

    def __call__(self, step: str, completed: int, total: int, file: str) -> None:
        """Heed that ``completed`` of ``total`` units of a step are done.

        Args:
            step: ``read``, ``separate``, ``order`` and ``write``, then ``recognise``.
            completed: from 0; a resumed step begins with what was done before.
            total: units of the step; with the last of them the step ends.
            file: the recording.
        """
        ...


class Bars:
    """A bar with the remaining time for each step of more than one unit."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._shown: tuple[str, str] | None = None

    def __call__(self, step: str, completed: int, total: int, file: str) -> None:
        """Show it; see :class:`Hook`."""
        if total <= 1:
            return
        if self._shown != (step, file):
            self.close()
            # What an earlier run did is left out of the estimate of the remaining time.
            self._bar = tqdm(total=total, initial=completed, desc=step, unit="block", leave=False)
            self._shown = step, file
        if self._bar is not None:
            self._bar.update(completed - self._bar.n)
        if completed >= total:
            self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
        self._bar = self._shown = None


def no_hook(step: str, completed: int, total: int, file: str) -> None:
    """Say nothing."""
