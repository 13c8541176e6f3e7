"""The command line: ``sepasr SUBCOMMAND``; one thin module per subcommand."""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from collections.abc import Sequence

from sepasr import __version__
from sepasr.errors import UserError

SUBCOMMANDS = {
    "simulate": "make the speech, rooms, noise and mixtures of the embedded corpus",
    "lengthen": "make mixtures in which each speaker says several things",
    "build": "make WHAMR, and rooms to train in, from WSJ0 and WHAM's noise",
    "prepare": "write Kaldi-style data directories from a corpus",
    "prepare_librimix": "write the data directories of Libri2Mix or Libri3Mix",
    "train": "pretrain or fine-tune a separator",
    "train_ctc": "train a small recogniser with a CTC head",
    "submit": "run a training as a SLURM job",
    "study": "answer a question by comparing variants of the fine-tuning",
    "tune": "choose the fine-tuning of every system on the development set",
    "separate": "separate recordings, or the mixtures of a data directory",
    "recognise": "decode the streams of a system with a recogniser",
    "transcribe": "separate a recording and write down what each speaker says",
    "export": "write a separator as ESPnet, ONNX or the Hugging Face hub load it",
    "strip": "make the inference-only directory of a trained separator",
    "measure": "measure the signals of separated mixtures, without recognisers",
    "score": "score separated and recognised mixtures into tables",
    "wer": "count the word errors of transcripts of recordings",
    "show": "print the tables of results once more",
    "report": "write a page of results with plots and examples to listen to",
    "demo": "separate recordings in the browser, on this machine",
    "encoders": "say of each encoder of the loss what it is and what a step with it costs",
    "plan": "say what a subcommand would read, write and need, without running it",
}

REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room, and run it again"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "a file is in the way: name another folder"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "name a place that you may write to"),
}
"""What to do about an error of the operating system."""
LOOK = "look at the path and the disk"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; only the module of the named subcommand is imported."""
    parser = argparse.ArgumentParser(
        prog="sepasr",
        description="Speech separation that is fine-tuned for recognisers, without transcripts.",
    )
    parser.add_argument("--version", action="version", version=f"sepasr {__version__}")
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    given = list(sys.argv[1:] if arguments is None else arguments)
    named = parser
    for name, text in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=text, description=f"{text[:1].upper()}{text[1:]}."
        )
        if given[:1] == [name]:
            module = importlib.import_module(f"sepasr.bin.{name}")
            module.add_arguments(subparser)
            named = subparser
            subparser.set_defaults(run=module.run, needs=getattr(module, "needs", None))
    options, unknown = parser.parse_known_args(given)
    if unknown:
        named.error(f"unrecognized arguments: {' '.join(unknown)}")  # under the subcommand's name
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        0; 2 for a mistake of the user's, told in one line; 130 when interrupted.
    """
    options = parse(arguments)
    try:
        options.run(options)
    except UserError as error:
        print(f"sepasr {options.subcommand}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        what, remedy = str(error.strerror or error), REMEDIES.get(error.errno or 0, LOOK)
        line = UserError(what, where=error.filename, remedy=remedy)
        print(f"sepasr {options.subcommand}: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"sepasr {options.subcommand}: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
