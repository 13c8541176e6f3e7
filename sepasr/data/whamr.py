"""Stage 1 for WHAMR, and for any corpus that is laid out as WHAMR and WSJ0 are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sepasr.data.datadir import Info, Mixture, MixtureDir
from sepasr.data.header import all_good, read_headers
from sepasr.data.wsj0 import find_transcripts, speaker_of
from sepasr.errors import UserError

COUNTS = {"tr": 20_000, "cv": 5_000, "tt": 3_000}


def prepare_whamr(
    whamr: str | Path,
    wsj0: str | Path | None,
    out: str | Path,
    sets: Iterable[str] = tuple(COUNTS),
    *,
    fs: int = 16000,
    cut: str = "max",
    condition: str = "mix_both_reverb",
    reference: str = "anechoic",
    allow_partial: bool = False,
    text: bool = True,
    corpus: str = "whamr",
) -> list[MixtureDir]:
    """Write a data directory per set: all of them, or none if anything is wrong.

    The header of every file is read, so that a wrong rate or length and truncation are found here.

    Args:
        whamr: the folder that holds `wav16k` or `wav8k`.
        wsj0: a folder above WSJ0's transcripts; only needed for ``text``.
        out: the data directories are made in this folder, each named after its set.
        sets: of "tr", "cv", "tt".
        fs: sampling rate in Hz: 16000 or 8000.
        cut: "max" or "min".
        condition: folder of the mixtures, mix_{single,clean,both}_{anechoic,reverb}: `single` has
            the first speaker only, `clean` has no noise.
        reference: "anechoic" or "reverb": which s1 and s2 are the references.
        allow_partial: accept fewer mixtures than the complete corpus has.
        text: give the references their transcripts, which match the audio only if it isn't cut.
        corpus: name of the corpus.

    Returns:
        The directories written, in the order of ``sets``.

    Raises:
        UserError: a folder, file or transcript is missing; a file name is not of four fields; a
            file is truncated, of another rate, or of another length than its mixture; the number
            of mixtures is not that of the complete corpus; text is asked for with cut "min".
    """
    if text and cut == "min":
        what = "transcripts do not match sources that are cut to the shorter one"
        raise UserError(what, where="cut min", remedy="use cut max, or do without text")
    if text and wsj0 is None:
        what = "transcripts are asked for without the folder of WSJ0"
        raise UserError(what, remedy="give it, or do without text")

    info = Info(corpus, fs, cut, condition, reference)
    names, folders = {}, {}
    for subset in sets:
        folders[subset] = _find_folders(Path(whamr).absolute(), subset, info)
        names[subset] = _find_names(folders[subset])
        _check_count(folders[subset]["wav.scp"], len(names[subset]), subset, allow_partial)
    texts = None
    if text and wsj0 is not None:
        spoken = {u for subset in names.values() for name in subset for u in utterances_of(name)}
        texts = find_transcripts(wsj0, spoken)
    directories = [
        MixtureDir(
            Path(out, subset), info, _read_mixtures(folders[subset], names[subset], fs, texts)
        )
        for subset in names
    ]
    for directory in directories:
        directory.write()
    return directories


def utterances_of(name: str) -> tuple[str, str]:
    """The utterances of a mixture, whose name is `utterance_gain_utterance_gain` (gains in dB).

    Raises:
        UserError: the name is not of four fields.
    """
    fields = name.split("_")
    if len(fields) != 4 or not all(fields):
        what = "the name is not of the form utterance_gain_utterance_gain"
        raise UserError(what, where=name, remedy="keep other files out of the corpus")
    return fields[0], fields[2]


def _find_folders(whamr: Path, subset: str, info: Info) -> dict[str, Path]:
    """The folder that each scp of a data directory lists."""
    condition = info.condition or ""
    top = whamr
    for name in ("", f"wav{info.fs // 1000}k", info.cut or "", subset):
        top = _subfolder(top, name)
    folders = {"wav.scp": _subfolder(top, condition)}
    for speaker in (1,) if condition.startswith("mix_single") else (1, 2):
        folders[f"spk{speaker}.scp"] = _subfolder(top, f"s{speaker}_{info.reference}")
    if not condition.startswith("mix_clean"):
        folders["noise1.scp"] = _subfolder(top, "noise")
    return folders


def _subfolder(folder: Path, name: str) -> Path:
    if (folder / name).is_dir():
        return folder / name
    beside = sorted(f.name for f in folder.iterdir() if f.is_dir()) if folder.is_dir() else []
    remedy = f"there are {', '.join(beside)}" if beside else "check the path of WHAMR"
    raise UserError("no such folder", where=folder / name, remedy=remedy)


def _find_names(folders: Mapping[str, Path]) -> list[str]:
    """Names of the mixtures, sorted, without suffix: those of the files in every folder."""
    main, *others = folders.values()
    names = {file.stem for file in main.glob("*.wav")}
    if not names:
        raise UserError("no WAV files", where=main, remedy="check the path of WHAMR")
    for folder in others:
        there = {file.stem for file in folder.glob("*.wav")}
        for missing, found, place in ((names - there, main, folder), (there - names, folder, main)):
            if missing:
                what = f"no such file, but it is in {found} ({len(missing)} like it)"
                remedy = "complete the corpus"
                raise UserError(what, where=place / f"{min(missing)}.wav", remedy=remedy)
    return sorted(names)


def _check_count(folder: Path, count: int, subset: str, allow_partial: bool) -> None:
    if subset not in COUNTS:
        raise UserError(f"unknown set '{subset}'", remedy=f"sets are {', '.join(COUNTS)}")
    if count != COUNTS[subset] and not allow_partial:
        what = f"{count} mixtures where the complete corpus has {COUNTS[subset]}"
        raise UserError(what, where=folder, remedy="complete it, or allow a partial corpus")


def _read_mixtures(
    folders: Mapping[str, Path], names: Sequence[str], fs: int, texts: Mapping[str, str] | None
) -> tuple[Mixture, ...]:
    """Make the records of one set, with every file's header checked."""
    files = {scp: [folder / f"{name}.wav" for name in names] for scp, folder in folders.items()}
    paths = [path for column in files.values() for path in column]
    headers = dict(zip(paths, all_good(read_headers(paths, fs, channels=1)), strict=True))
    noises = files.get("noise1.scp", [None] * len(names))
    references = zip(*(files[scp] for scp in files if scp.startswith("spk")), strict=True)

    mixtures = []
    for name, mixture, sources, noise in zip(
        names, files["wav.scp"], references, noises, strict=True
    ):
        for path in (*sources, noise):
            if path and headers[path].frames != headers[mixture].frames:
                what = f"{headers[path].frames} samples, its mixture has {headers[mixture].frames}"
                raise UserError(what, where=path, remedy="replace the file")
        utterances = utterances_of(name)[: len(sources)]
        mixtures.append(
            Mixture(
                id=name,
                mixture=mixture,
                references=sources,
                noise=noise,
                texts=tuple(texts[utterance] for utterance in utterances) if texts else None,
                speakers=tuple(speaker_of(utterance) for utterance in utterances),
                duration_s=headers[mixture].duration_s,
            )
        )
    return tuple(mixtures)
