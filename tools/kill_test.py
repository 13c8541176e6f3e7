#!/usr/bin/env python3
"""Whether a run that was killed, and started again, ends as one that nobody has disturbed.

    tools/kill_test.py --kills 30 --seed 0
    tools/kill_test.py --stages                    # which there are
    tools/kill_test.py --kills 5 --stages simulate finetune

Every stage runs once undisturbed, on a corpus of seconds. Then each in turn runs anew, is killed
(SIGKILL, all of its processes) at a moment drawn from the time that it took, perhaps again after it
was restarted, and at last let go to its end. What lies in the folder then must be what lay there
after the undisturbed run, file by file, and nothing else. A line tells of each kill; the status is
1 if anything differs.

What may differ, and what is compared of it, says tools/kill_compare.py.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from kill_compare import differences

REPOSITORY = Path(__file__).resolve().parents[1]
AGAIN = 0.4
"""How often a restarted run is killed once more."""
SIZES = (
    "num_train_hibari=34 num_train_joe=12 num_train_espeak=6 num_dev=1 num_test=3 num_rooms=3 "
    "num_noises_train=5 num_noises=5"
)
TRAIN = (
    "--utterances $RUN/data/tr_utterances --noise $RUN/data/tr_noise --rooms $RUN/data/tr_rooms "
    "--valid $RUN/data/cv --set fit.batch=2 fit.save_every=2 fit.valid_every=4 mixing.segment_s=0.5"
)
CONF = "conf/train/{0}.yaml egs/mini_whamr/conf/train/{0}.yaml"
SYSTEMS = "--data $RUN/data/tt --exp $RUN/exp --systems clean finetuned"


@dataclass(frozen=True)
class Stage:
    """What a script makes of what the stages before it made; paths are below ``$RUN``."""

    name: str
    after: tuple[str, ...]
    makes: tuple[str, ...]
    script: str


STAGES = (
    Stage("simulate", (), ("corpus",), f"sepasr simulate --set {SIZES} --jobs 1 --out $RUN/corpus"),
    Stage(
        "prepare",
        ("simulate",),
        ("data", "recogniser"),
        "corpus=$RUN/corpus data=$RUN/data exp=$RUN/recogniser fs=16000 cut=max "
        "condition=mix_both_reverb reference=anechoic bash egs/mini_whamr/local/data.sh",
    ),
    Stage(
        "pretrain",
        ("prepare",),
        ("pretrain",),
        f"sepasr train --config {CONF.format('pretrain')} --separator conf/separator/mini.yaml"
        f" --out $RUN/pretrain {TRAIN} fit.steps=6",
    ),
    Stage(
        "finetune",
        ("prepare",),
        ("finetune",),
        f"sepasr train --config {CONF.format('finetune')} --encoder conf/encoder/wav2vec2_mini.yaml"
        " --init egs/mini_whamr/pretrained/separator"
        f" --out $RUN/finetune {TRAIN} fit.steps=6 'fit.snapshots=[3]' fit.average=0.5",
    ),
    Stage(
        "separate",
        ("finetune",),
        ("exp/separate",),
        "sepasr separate $RUN/data/tt --model $RUN/finetune/final --batch 3"
        " --out $RUN/exp/separate/finetuned",
    ),
    Stage(
        "recognise",
        ("separate",),
        ("exp/decode", "exp/transcripts.sqlite"),
        f"sepasr recognise {SYSTEMS} --recogniser conf/asr/whisper_tiny_en.yaml",
    ),
    Stage(
        "score",
        ("recognise",),
        ("results", "exp/measures.jsonl"),
        f"sepasr score --recipe kills {SYSTEMS} --recognisers whisper_tiny_en --out $RUN/results",
    ),
    Stage(
        "long",
        ("finetune",),
        ("streams",),
        "sepasr separate $RUN/long.wav --model $RUN/finetune/final --out $RUN/streams",
    ),
    Stage(
        "transcribe",
        ("finetune",),
        ("said",),
        "sepasr transcribe $RUN/long.wav --model $RUN/finetune/final --out $RUN/said"
        " --recogniser whisper_tiny_en --format text srt vtt ctm seglst",
    ),
)


def needed(names: list[str]) -> list[Stage]:
    """The stages of these names and all that come before them."""
    wanted = set(names)
    for stage in reversed(STAGES):
        wanted |= set(stage.after) if stage.name in wanted else set()
    return [stage for stage in STAGES if stage.name in wanted]


class Place:
    """Folders of the test: ``run``, where everything runs, and ``whole``, what is expected."""

    def __init__(self, folder: Path) -> None:
        self.run, self.whole, self.log = folder / "run", folder / "whole", folder / "log.txt"
        self.temporary = folder / "temporary"
        self.run.mkdir(parents=True)

    def start(self, stage: Stage, kill_after: float | None = None) -> bool:
        """Run a stage; whether it was killed.

        Raises:
            RuntimeError: it failed.
        """
        self.temporary.mkdir(exist_ok=True)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "RUN": str(self.run),
            "TMPDIR": str(self.temporary),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
        }
        with self.log.open("w") as log:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", stage.script],
                cwd=REPOSITORY,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                status = process.wait(kill_after)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return True
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if status:
            last = self.log.read_text(errors="replace").strip().splitlines()[-3:]
            raise RuntimeError(f"{stage.name} ended with status {status}: {' | '.join(last)}")
        return False

    def clear(self, stage: Stage) -> None:
        """Remove what a stage has made, or left."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        for made in stage.makes:
            path = self.run / made
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def restore(self, keep: str = "") -> None:
        """Put everything back, times of the files included: scores are kept by them."""
        if keep:
            self.run.rename(self.run.with_name(keep))
        else:
            shutil.rmtree(self.run)
        shutil.copytree(self.whole, self.run)


def reference(place: Place, stages: list[Stage]) -> dict[str, float]:
    """Run the stages undisturbed; the seconds that each takes."""
    seconds = {}
    for stage in stages:
        began = time.monotonic()
        place.start(stage)
        seconds[stage.name] = time.monotonic() - began
        print(f"{stage.name:10} {seconds[stage.name]:6.1f} s undisturbed", flush=True)
        if stage.name == "simulate":
            mixtures = sorted(place.run.glob("corpus/whamr/wav16k/max/tt/mix_both_reverb/*.wav"))
            parts = [soundfile.read(file)[0] for file in mixtures]
            soundfile.write(place.run / "long.wav", np.concatenate(parts * 2), 16000, "FLOAT")
    shutil.copytree(place.run, place.whole)
    return seconds


def kill_and_compare(
    place: Place, stage: Stage, seconds: float, most: int, draw: random.Random, said: int, kept: str
) -> tuple[int, list[str]]:
    """Kill a stage one or several times, let it end and compare; the kills, and what differs.

    Args:
        most: kills of this run.
        said: kills of the runs before.
        kept: name of the folder in which what differs is left.
    """
    place.clear(stage)
    kills, line = 0, ""
    try:
        while kills < most and (kills == 0 or draw.random() < AGAIN):
            moment = draw.uniform(0, seconds)
            if not place.start(stage, moment):
                break  # what was left to do took less
            kills += 1
            if line:
                print(f"{line}  and killed again:")
            line = f"{said + kills:3}  {stage.name:10} {moment:6.1f} of {seconds:.1f} s"
        place.start(stage)
        equal, wrong = differences(place.whole, place.run, stage.makes)
    except RuntimeError as error:
        equal, wrong = Counter(), [str(error)]
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(equal.items()))
    print(f"{line or stage.name}  {'DIFFERS' if wrong else 'equal'}: {counts}", flush=True)
    for problem in wrong:
        print(f"     {problem}", flush=True)
    place.restore(kept if wrong else "")
    return kills, wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [stage.name for stage in STAGES]
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", nargs="*", choices=names, help="to kill (default: all)")
    parser.add_argument("--work", type=Path, help="new folder, which is kept, with what differs")
    options = parser.parse_args()
    if options.stages == []:
        print("\n".join(names))
        return 0
    chosen = options.stages or names
    draw = random.Random(options.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Place((options.work or Path(folder)).absolute())
        seconds = reference(place, needed(chosen))
        turn = [stage for stage in STAGES if stage.name in chosen]
        kills, runs, failed, whole = 0, 0, 0, set(chosen)
        while kills < options.kills:
            if runs % len(turn) == 0:
                draw.shuffle(turn)
            # First those that have had no kill, for one may have ended before its moment.
            stage = next((one for one in turn if one.name in whole), turn[runs % len(turn)])
            most = max(1, options.kills - kills - len(whole - {stage.name}))
            made, wrong = kill_and_compare(
                place, stage, seconds[stage.name], most, draw, kills, f"differs_{runs}"
            )
            kills, runs, failed = kills + made, runs + 1, failed + bool(wrong)
            if made:
                whole.discard(stage.name)
    took = (time.monotonic() - began) / 60
    print(f"{kills} kills of {runs} runs, {failed} ended otherwise ({took:.1f} min)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
