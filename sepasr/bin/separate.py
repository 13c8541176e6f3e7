"""``sepasr separate``: recordings, or the mixtures of a directory, into one file per speaker."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sepasr.bin.workers import add_worker_arguments

if TYPE_CHECKING:
    from sepasr.decode.recogniser import Recogniser
    from sepasr.decode.recording import Recording
    from sepasr.separator.model import Separator

PRETRAINED = Path(__file__).parents[2] / "egs/mini_whamr/pretrained/separator"
BATCH = 8


def separator_place(text: str) -> Path | str:
    """A directory, or the name of a model on the hub."""
    from sepasr.separator.config import on_hub

    return text if on_hub(text) else Path(text)


def add_separator_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which separator to take, and where it runs."""
    parser.add_argument(
        "--model",
        type=separator_place,
        default=PRETRAINED,
        help="directory of a separator, or owner/name on the Hugging Face hub "
        "(default: %(default)s)",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: cpu)")


def add_source_argument(parser: argparse.ArgumentParser) -> None:
    """Declare where weights of recognisers come from."""
    parser.add_argument("--asr-source", default="auto", choices=["auto", "package", "hub"])


def add_reader_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which recogniser reads what was separated, and where."""
    parser.add_argument(
        "--recogniser", default="whisper_base", help="a name in conf/asr, or a YAML (%(default)s)"
    )
    add_source_argument(parser)
    parser.add_argument(
        "--asr-device",
        help="where the recogniser runs, if it can choose: cpu, cuda, cuda:1 (default: on the GPU "
        "of --device, if that is CUDA, else where its YAML says)",
    )


def reader_of(options: argparse.Namespace) -> Recogniser:
    """The recogniser that the options name.

    Raises:
        UserError: it can't be had or loaded, or can't run there.
    """
    from sepasr.decode.recogniser import load_recogniser

    on_gpu = options.device.partition(":")[0] == "cuda"
    device = options.asr_device or (options.device if on_gpu else None)
    return load_recogniser(options.recogniser, options.asr_source, device=device)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which separator to take, where it runs, and on what."""
    add_separator_arguments(parser)
    parser.add_argument(
        "--channel", type=int, help="channel to take, from 1 (default: the mean of all)"
    )
    parser.add_argument(
        "--gather",
        action="store_true",
        help="put the voice of one who speaks alone into one stream, chosen by its sound, even if "
        "the separator has split it (recordings longer than a window)",
    )
    parser.add_argument(
        "--speakers", type=int, help="refuse a model that separates another number of speakers"
    )


def check_speakers(separator: Separator, options: argparse.Namespace) -> Separator:
    """Give the separator back if it has as many speakers as were asked for.

    Raises:
        UserError: it has another number.
    """
    from sepasr.errors import UserError

    if options.speakers not in (None, separator.num_speakers):
        what = f"this model separates {separator.num_speakers} speakers, not {options.speakers}"
        raise UserError(what, where=options.model, remedy="choose another --model")
    return separator


def load_checked(options: argparse.Namespace) -> Separator:
    """The separator that the options name.

    Raises:
        UserError: there is none, no such device, or it has another number of speakers.
    """
    from sepasr.decode.separate import load_separator

    return check_speakers(load_separator(options.model, options.device), options)


def recordings_of(inputs: Sequence[Path]) -> list[Recording]:
    """What the inputs stand for.

    Raises:
        UserError: nothing is there, or the streams of two would get one name.
    """
    from sepasr.decode.recording import find_recordings
    from sepasr.decode.transcript_formats import session_id
    from sepasr.errors import UserError

    recordings = [one for source in inputs for one in find_recordings(source)]
    sources: dict[str, str] = {}
    for recording in recordings:
        name = session_id(recording.name)
        if name in sources:
            what = f"named '{name}', as is {sources[name]}"
            raise UserError(what, where=recording.source, remedy="rename one")
        sources[name] = recording.source
    return recordings


def refuse_folder_of_input(inputs: Sequence[Path], out: Path | None) -> None:
    """Refuse to write streams among recordings.

    There they would be separated the next time, and might replace what has their names, such as
    the transcript of a recording.

    Raises:
        UserError: ``out`` is one of the inputs, or the folder of one.
    """
    from sepasr.errors import UserError

    for source in inputs:
        folder = source if source.is_dir() else source.parent
        if out and source.suffix != ".scp" and folder.resolve() == out.resolve():
            what = "streams here would be taken for recordings, or replace what lies beside one"
            raise UserError(what, where=out, remedy="name another folder with --out")


def refuse_folder_of_streams(out: Path) -> None:
    """Refuse to list streams of recordings where those of a data directory are listed, or its own.

    Raises:
        UserError: ``out`` is such a folder.
    """
    from sepasr.decode.separate import SEPARATOR, refuse_data_directory
    from sepasr.errors import UserError

    refuse_data_directory(out)
    if (out / SEPARATOR).exists():
        what = "holds the streams of a data directory"
        raise UserError(what, where=out, remedy="name another folder with --out")


def listed_before(out: Path, speakers: int) -> list[dict[str, str]]:
    """For each speaker, the streams that earlier calls have listed in a folder and that are there.

    Raises:
        UserError: a list can't be read.
    """
    from sepasr.data.scp import read_table

    lists = [out / f"spk{s + 1}.scp" for s in range(speakers)]
    tables = [read_table(path) if path.exists() else {} for path in lists]
    kept = [id_ for id_ in tables[0] if all(Path(t.get(id_, "")).is_file() for t in tables)]
    return [{id_: table[id_] for id_ in kept} for table in tables]


def refuse_overwriting(
    inputs: Sequence[Path], recordings: Sequence[Recording], out: Path, speakers: int
) -> None:
    """Refuse streams and lists that would take the place of anything that is to be read.

    Raises:
        UserError: one of them would, or the folder is for other streams.
    """
    from contextlib import suppress

    from sepasr.decode.recording import stream_paths
    from sepasr.errors import UserError

    refuse_folder_of_streams(out)
    written = [out / f"spk{s + 1}.scp" for s in range(speakers)]
    for recording in recordings:
        with suppress(UserError):  # its name is refused when its turn comes
            written += stream_paths(recording, out, speakers)
    sources = [*inputs, *(Path(one.source) for one in recordings)]
    read = {source.resolve() for source in sources}
    for path in written:
        if path.resolve() in read:
            what = "a stream or a list of streams would take the place of this input"
            raise UserError(what, where=path, remedy="name another folder with --out")


def share(text: str) -> float:
    """A number that isn't below 0."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def positive(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "input",
        type=Path,
        nargs="+",
        help="audio file (any rate and channels), folder of them, wav.scp, or data directory",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the streams")
    parser.add_argument(
        "--batch", type=positive, default=BATCH, help="mixtures at a time (data directories)"
    )
    parser.add_argument(
        "--add-mixture",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="add so much of the mixture to each stream, such as 0.1 (default: none)",
    )
    add_model_arguments(parser)
    add_worker_arguments(parser)


def needs(options: argparse.Namespace) -> list[str]:
    """Disk for the streams of a data directory that is there already."""
    from sepasr.bin.plan import size
    from sepasr.data.datadir import MixtureDir

    lines = []
    for source in options.input:
        if (source / "info.yaml").is_file():
            data = MixtureDir.load(source)
            seconds = sum(len(m.references) * m.duration_s for m in data.mixtures)
            lines.append(f"disk: {size(4 * data.info.fs * seconds)} for {source}")
    return lines


def run(options: argparse.Namespace) -> None:
    """Separate everything that is named."""
    from sepasr.data.datadir import MixtureDir
    from sepasr.decode.separate import load_separator, separate_directory
    from sepasr.errors import UserError
    from sepasr.parallel import OncePerProcess

    refuse_folder_of_input(options.input, options.out)
    directories = [source for source in options.input if (source / "info.yaml").is_file()]
    if directories and len(options.input) > 1:
        raise UserError("a data directory is separated on its own", where=directories[0])
    if directories and (options.channel is not None or options.gather):
        what, remedy = "--channel and --gather are for recordings", "leave them out"
        raise UserError(what, where=directories[0], remedy=remedy)
    if not directories and (options.jobs, options.cluster, options.batch) != (1, None, BATCH):
        what = "--jobs, --cluster and --batch are for data directories"
        raise UserError(what, where=options.input[0], remedy="leave them out")
    load = OncePerProcess(load_separator, (options.model, options.device))
    separator = check_speakers(load(), options)
    if directories:
        separate_directory(
            separator,
            MixtureDir.load(directories[0]),
            options.out,
            options.batch,
            add_mixture=options.add_mixture,
            load=load,
            jobs=options.jobs,
            cluster=options.cluster,
        )
        return
    _separate(separator, recordings_of(options.input), options)


def _separate(
    separator: Separator, recordings: Sequence[Recording], options: argparse.Namespace
) -> None:
    """Separate recordings and list the streams; what can't be read doesn't keep the others back."""
    from contextlib import closing

    from sepasr.data.scp import write_table
    from sepasr.decode.progress import Bars
    from sepasr.decode.recording import separate_recording
    from sepasr.decode.transcript_formats import session_id
    from sepasr.errors import UserError

    refuse_overwriting(options.input, recordings, options.out, separator.num_speakers)
    listed_before(options.out, separator.num_speakers)  # what can't be read is told at once
    written: dict[str, list[Path]] = {}
    failed = []
    for recording in recordings:
        try:
            with closing(Bars()) as bars:
                paths = separate_recording(
                    separator,
                    recording,
                    options.out,
                    options.channel,
                    add_mixture=options.add_mixture,
                    gather=options.gather,
                    hook=bars,
                )
        except UserError as error:
            if len(recordings) == 1:
                raise
            print(f"sepasr separate: {error}", file=sys.stderr)
            failed.append(recording.name)
            continue
        written[session_id(recording.name)] = paths
        print("\n".join(map(str, paths)))
    before = listed_before(options.out, separator.num_speakers) if written else []
    for s in range(len(before)):
        lists = {name: str(paths[s].absolute()) for name, paths in written.items()}
        write_table(options.out / f"spk{s + 1}.scp", before[s] | lists)
    if failed:
        what = f"{len(failed)} of {len(recordings)} recordings can't be separated, see above"
        raise UserError(what, where=options.out, remedy="mend them and run it again")
