"""``sepasr transcribe``: separate recordings and write down who says what, and when."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sepasr.bin.separate import add_model_arguments, add_reader_arguments
from sepasr.decode.transcript_formats import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "input",
        type=Path,
        nargs="+",
        help="audio file (any rate, channels and length), folder or wav.scp",
    )
    parser.add_argument(
        "-o", "--out", type=Path, help="folder of streams and transcripts (default: print them)"
    )
    parser.add_argument(
        "--format",
        nargs="+",
        action="extend",
        choices=list(FORMATS),
        help="several with --out, one without (default: text; with --out, text and seglst)",
    )
    add_reader_arguments(parser)
    add_model_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Print transcripts, or write a file for each recording and format."""
    import tempfile
    from contextlib import closing

    from sepasr.bin.separate import (
        load_checked,
        reader_of,
        recordings_of,
        refuse_folder_of_input,
        refuse_overwriting,
    )
    from sepasr.data.audio import read_audio
    from sepasr.decode.cache import TranscriptCache
    from sepasr.decode.progress import Bars
    from sepasr.decode.recording import separate_recording
    from sepasr.decode.transcribe import transcribe_streams
    from sepasr.errors import UserError
    from sepasr.files import write_text

    formats = options.format or (["text", "seglst"] if options.out else ["text"])
    if not options.out and len(formats) > 1:
        raise UserError("several formats can't be printed", where="--format", remedy="add --out")
    refuse_folder_of_input(options.input, options.out)
    recordings = recordings_of(options.input)
    if not options.out and len(recordings) > 1 and formats[0] not in ("text", "ctm"):
        what = f"{formats[0]} of several recordings can't be printed in one piece"
        raise UserError(what, where="--format", remedy="add --out")
    separator = load_checked(options)
    if options.out:
        refuse_overwriting(options.input, recordings, options.out, separator.num_speakers)
    recogniser = reader_of(options)
    failed = 0
    for recording in recordings:
        try:
            with tempfile.TemporaryDirectory() as folder, closing(Bars()) as bars:
                out = options.out or Path(folder)
                paths = separate_recording(
                    separator, recording, out, options.channel, gather=options.gather, hook=bars
                )
                fs = read_audio(paths[0], stop=1)[1]
                # What is in it is not read again, as after an interruption.
                with TranscriptCache(out / "transcripts.sqlite") as cache:
                    said = transcribe_streams(
                        recogniser, paths, fs, cache=cache, hook=bars, name=recording.source
                    )
        except UserError as error:  # as in `sepasr separate`: the others are not kept back
            if len(recordings) == 1:
                raise
            print(f"sepasr transcribe: {error}", file=sys.stderr)
            failed += 1
            continue
        for name in formats:
            ending, write = FORMATS[name]
            text = write(recording.name, said)
            if options.out:
                write_text(options.out / f"{recording.name}{ending}", text)
                print(options.out / f"{recording.name}{ending}")
            else:
                print(text, end="")
    if failed:
        what = f"{failed} of {len(recordings)} recordings can't be transcribed, see above"
        raise UserError(what, where=options.input[0], remedy="mend them and run it again")
