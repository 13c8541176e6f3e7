"""Stage 1 for a set of mixtures of any number of speakers, in a folder of its own.

The folder is laid out as a set of WHAMR is, ``SIGNAL/MIXTURE.wav`` with the signals
``mix_both_reverb``, ``noise``, ``s1_anechoic`` and so on, and beside these folders lie the tables
``utt2spk`` (speakers joined by ``_``) and ``text_spk1``, ``text_spk2``, ...
"""

from __future__ import annotations

from pathlib import Path

from sepasr.data.datadir import Info, MixtureDir
from sepasr.data.layout import check_joined
from sepasr.data.mixtures import Spoken, check_names, read_mixtures, subfolder
from sepasr.data.scp import check_same_ids, inspect_table, read_table
from sepasr.data.whamr_tree import check_reference
from sepasr.errors import UserError
from sepasr.files import whole_files

_REMEDY = "make the set again, or check the folder"


def read_mixture_folder(
    folder: str | Path,
    out: str | Path,
    fs: int = 16000,
    *,
    condition: str = "mix_both_reverb",
    reference: str = "anechoic",
    corpus: str,
    jobs: int = 1,
    cluster: Path | None = None,
) -> MixtureDir:
    """The data directory ``out`` of a folder of whole mixtures, not yet written.

    Args:
        folder: see the module.
        out: the data directory.
        fs: sampling rate in Hz.
        condition: folder of the mixtures; of those named ``clean`` no noise is listed.
        reference: "anechoic" or "reverb": which of each source is its reference.
        corpus: name of the corpus.
        jobs: as for :func:`sepasr.data.header.read_headers`.
        cluster: likewise.

    Raises:
        UserError: a folder, table or file is missing; tables have other mixtures than each other or
            than the folders; or see :func:`sepasr.data.mixtures.read_mixtures`.
    """
    check_reference(condition, reference)
    folder = subfolder(Path(folder).absolute(), "", _REMEDY)
    together = read_table(folder / "utt2spk")
    count = len(next(iter(together.values())).split("_"))
    names = ["utt2spk", *(f"text_spk{s}" for s in range(1, count + 1))]
    texts = [read_table(folder / name) for name in names[1:]]
    tables = [inspect_table(folder / name) for name in names]
    problems = check_joined(tables[0], count) + check_same_ids(tables)
    if problems:
        raise problems[0]
    scps = {"wav.scp": condition}
    scps |= {f"spk{s}.scp": f"s{s}_{reference}" for s in range(1, count + 1)}
    scps |= {} if "clean" in condition else {"noise1.scp": "noise"}
    folders = {scp: subfolder(folder, name, _REMEDY) for scp, name in scps.items()}
    for one in folders.values():
        check_names(one, together.keys(), folder / "utt2spk")
        for file in whole_files(one, "*.wav"):
            if file.stem not in together:
                raise UserError("not in the table utt2spk", where=file, remedy=_REMEDY)
    spoken = {
        name: Spoken(tuple(speakers.split("_")), tuple(text[name] for text in texts))
        for name, speakers in together.items()
    }
    mixtures = read_mixtures(folders, spoken, fs, jobs=jobs, cluster=cluster)
    return MixtureDir(Path(out), Info(corpus, fs, "max", condition, reference), mixtures)
