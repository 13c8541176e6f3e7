from __future__ import annotations

from pathlib import Path

import pytest
from hand_made import Corpora, make_corpora


@pytest.fixture
def corpora(tmp_path: Path) -> Corpora:
    """Tiny corpora of this test's own, to be damaged at will."""
    return make_corpora(tmp_path / "corpora")
