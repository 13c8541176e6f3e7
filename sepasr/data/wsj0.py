"""WSJ0 in any of its releases: nothing is assumed about the folders above those of the subsets."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from pathlib import Path

from sepasr.errors import UserError

# Preferred from the left where an utterance is there more than once.
_AUDIO = (".wav", ".flac", ".wv1")
# A session's transcripts are in one file, named by the first 6 characters of its utterances.
_SESSION = 6
_FIRST_MICROPHONE = "get the .wv1 files: the others score worse"

_DOT_LINE = re.compile(r"(?P<words>.*)\(\s*(?P<utterance>\w+)\s*\)")
# [<x] x happened in the word before, [x>] in the one after, [x/] to [/x] during those between:
# marks of a span of words. [x] alone is a noise between words.
_SPAN_MARK = re.compile(r"\[(?:<[^\]]*|[^\]]*>|/[^\]]*|[^\]]*/)\]")
_NOISE = re.compile(r"\[[^\]]*\]")
_UNSIGNED = {"%PERCENT": "PERCENT", ".POINT": "POINT", "--DASH": "-DASH"}


def speaker_of(utterance: str) -> str:
    """The speaker of a WSJ0 utterance: its first three characters."""
    return utterance[:3]


class Wsj0:
    """WSJ0 somewhere below a folder, which is walked through once, when first asked for a file.

    Args:
        folder: above everything that is to be found: audio, or transcripts, or both.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @cached_property
    def _files(self) -> tuple[Path, ...]:
        return tuple(_files(self.folder))

    def utterances(self, subset: str) -> dict[str, Path]:
        """The audio of a subset by the close-talking microphone: .wv1, or WAV or FLAC made of it.

        Args:
            subset: e.g. "si_tr_s", the name of a folder on one or several discs; upper and lower
                case are the same, here and in file names.

        Returns:
            Files by utterance, sorted.

        Raises:
            UserError: there is no such folder, or it holds no utterance of the first microphone.
        """
        found, second = self._find_first_microphone(lambda _, folders: subset.lower() in folders)
        if found:
            return found
        if second:
            what = f"{second} files of '{subset}' are of the second microphone (.wv2), "
            what += "none of the first"
            raise UserError(what, where=self.folder, remedy=_FIRST_MICROPHONE)
        what = f"no utterance (.wav, .flac, .wv1) below any folder named '{subset}'"
        raise UserError(what, where=self.folder, remedy="give a folder above all WSJ0 discs")

    def audio(self, utterances: Collection[str]) -> dict[str, Path]:
        """The audio of utterances by the close-talking microphone, whatever their subset.

        Returns:
            Files by utterance, sorted: of those that are there.

        Raises:
            UserError: there are some of them, but all by the second microphone (.wv2).
        """
        found, second = self._find_first_microphone(lambda name, _: name in utterances)
        if second and not found:
            what = f"{second} utterances are there by the second microphone (.wv2), "
            what += "none by the first"
            raise UserError(what, where=self.folder, remedy=_FIRST_MICROPHONE)
        return found

    def _find_first_microphone(
        self, wanted: Callable[[str, Collection[str]], bool]
    ) -> tuple[dict[str, Path], int]:
        """Audio files by utterance, sorted, and the number of those by the second microphone.

        Args:
            wanted: whether to take an utterance, by its name and by the names of the folders it is
                in, all in lower case.
        """
        found: dict[str, Path] = {}
        second = 0
        for file in self._files:
            utterance, *suffixes = file.name.lower().split(".")
            folders = [part.lower() for part in file.relative_to(self.folder).parts[:-1]]
            if not suffixes or not wanted(utterance, folders):
                continue
            if "wv2" in suffixes:
                second += 1
            elif file.suffix.lower() in _AUDIO:
                found[utterance] = min(found.get(utterance, file), file, key=_preference)
        return dict(sorted(found.items())), second

    def transcripts(self, utterances: Collection[str]) -> dict[str, str]:
        """What was said, from the .dot files anywhere below the folder.

        Only the files of the sessions asked for are read.

        Args:
            utterances: their names.

        Returns:
            Text by utterance; see :func:`parse_dot_line`.

        Raises:
            UserError: an utterance has no transcript, an empty one or two different ones, or a line
                is malformed.
        """
        sessions = {utterance[:_SESSION] for utterance in utterances}
        texts: dict[str, str] = {}
        origin: dict[str, tuple[Path, int]] = {}
        dots = [file for file in self._files if file.suffix.lower() == ".dot"]
        for file in dots:
            if file.stem.lower()[:_SESSION] not in sessions:
                continue
            for number, line in enumerate(_read_dot(file), 1):
                if not line.strip():
                    continue
                utterance, text = parse_dot_line(line, file, number)
                if texts.setdefault(utterance, text) != text and utterance in utterances:
                    first, line_of_first = origin[utterance]
                    what = f"another transcript of '{utterance}' than in {first}:{line_of_first}"
                    raise UserError(what, where=file, line=number, remedy="keep one of the two")
                origin.setdefault(utterance, (file, number))
        for utterance in sorted(utterances):
            if not texts.get(utterance):
                what = f"no transcript of '{utterance}'"
                if utterance in origin:
                    file, number = origin[utterance]
                    raise UserError(f"{what}: no words are left", where=file, line=number)
                where = f"{self.folder}/**/{utterance[:_SESSION]}*.dot"
                below = f"{len(dots)} .dot files are below {self.folder}"
                remedy = f"{below}: give a folder above transcrp/dots"
                raise UserError(what, where=where, remedy=remedy)
        return {utterance: texts[utterance] for utterance in sorted(utterances)}


def _preference(file: Path) -> int:
    return _AUDIO.index(file.suffix.lower())


def _read_dot(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError("not a text file", where=file, remedy="get the file again") from None


def parse_dot_line(
    line: str, where: str | Path | None = None, number: int | None = None
) -> tuple[str, str]:
    r"""Split a line of a .dot file, `words (utterance)`, and tidy its words.

    Words are put in upper case. Backslashes and `~` are dropped, so are a lone `.` (a pause) and
    the marks of spans, `[<door_slam]`, `[door_slam>]`, `[phone_ring/]` and `[/phone_ring]`; any
    other `[noise]` becomes `<NOISE>`. A `<word>` that was taken back and a mispronounced `*word*`
    become the word. `--DASH`, `%PERCENT` and `.POINT` become `-DASH`, `PERCENT` and `POINT`, and
    `(LEFT-PAREN` and its like lose their parenthesis, up to whose other half a normaliser would
    remove all words; the rest of the spoken punctuation keeps its sign.

    >>> parse_dot_line(r"\"DOUBLE-QUOTE He <said> [cough] five . %PERCENT (011c0201)")
    ('011c0201', '"DOUBLE-QUOTE HE SAID <NOISE> FIVE PERCENT')

    Args:
        line: the line.
        where: the file, for the error.
        number: the number of the line, for the error.

    Returns:
        The utterance in lower case, and its words.

    Raises:
        UserError: the line does not end in an utterance in parentheses.
    """
    match = _DOT_LINE.fullmatch(line.strip())
    if match is None:
        raise UserError(
            f"'{line.strip()}' is not of the form 'words (utterance)'",
            where=where,
            line=number,
            remedy="get the file again",
        )
    words = re.sub(r"[\\~*()]", "", match["words"].upper())
    words = _SPAN_MARK.sub(" ", words)
    # The noises are put in last, or the rule for <word> would take them for words.
    words = re.sub(r"<([^<>]+)>", r"\1", words)
    words = _NOISE.sub(" <NOISE> ", words)
    tidy = (_UNSIGNED.get(word, word) for word in words.split() if word != ".")
    return match["utterance"].lower(), " ".join(tidy)


def _files(root: Path) -> Iterator[Path]:
    """All files below a folder, sorted within each; links are followed, but never in a circle."""
    if not root.is_dir():
        raise UserError("no such folder", where=root, remedy="check the path of WSJ0")
    seen = set()
    for folder, subfolders, names in os.walk(root, onerror=_unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        for name in sorted(names):
            if not name.startswith("."):  # a file in the making, see sepasr.files
                yield Path(folder, name)


def _unreadable(error: OSError) -> None:
    what = f"can't be read: {error.strerror}"
    raise UserError(what, where=error.filename, remedy="change its permissions")
