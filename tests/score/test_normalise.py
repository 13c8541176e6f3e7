import subprocess
import sys

import pytest

from sepasr.score.normalise import normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("  don't   STOP ", "do not stop"),
        ("um the colour of [noise] twenty two", "the color of 22"),
        ("<NOISE>", ""),
        ("", ""),
    ],
)
def test_exact(text, expected):
    assert normalise(text) == expected


def test_import_is_quick():
    """The normaliser must not pull in the Whisper model's packages."""
    code = "import sys, sepasr.score.normalise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
