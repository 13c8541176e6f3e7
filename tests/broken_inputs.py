"""A generator of broken inputs: ten kinds, ten of each, drawn from a seed.

Each function of :data:`KINDS` breaks something in a :class:`World` of good inputs and gives the
command that meets it, with what its one line must say.
"""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from good_inputs import FS, READER, World

from sepasr.data.scp import write_table


@dataclass(frozen=True)
class Broken:
    """A command that must be refused, and what its line must hold."""

    arguments: list[object]
    says: tuple[str, ...]


def truncated(world: World, draw: Random, number: int) -> Broken:
    arguments, file = world.corpus(("noise", "rooms", "mixtures")[number % 3], draw)
    subtype = ("PCM_16", "FLOAT", "PCM_24", "PCM_32")[number % 4]
    world.wav(str(file.relative_to(world.folder)), np.full(800, 0.1), subtype=subtype)
    content = file.read_bytes()
    file.write_bytes(content[: draw.randrange(1, 44) if number > 7 else -draw.randrange(8, 1500)])
    return Broken(arguments, (str(file), "truncated", "replace the file"))


def unreadable(world: World, draw: Random, number: int) -> Broken:
    file, samples = world.folder / "a.wav", np.zeros(draw.choice([900, 9 * FS]), np.float32)
    samples[at := draw.randrange(len(samples))] = (np.nan, np.inf, -np.inf)[number % 3]
    if number < 3:
        world.wav("a.wav", samples, subtype="FLOAT")
        says = f"sample {at} is not finite"
    elif number < 8:
        contents = (
            b"",
            b"no audio\n",
            b"<!doctype html>",
            draw.randbytes(999),
            b"RIFF\0\0\0\0WAVE",
        )
        world.write("a.wav", contents[number - 3])
        says = "cannot be read as audio"
    elif number == 8:
        world.wav("a.wav", samples[:0])
        says = "no samples"
    else:
        file.symlink_to(world.folder / "nowhere.wav")
        says = "no such file"
    more = ["--recogniser", "pocketsphinx"] if number % 2 else []
    command = ["transcribe" if more else "separate", *world.separate(file)[1:], *more]
    return Broken(command, (str(file), says))


def other_rate(world: World, draw: Random, number: int) -> Broken:
    arguments, file = world.corpus(("noise", "rooms", "mixtures")[number % 3], draw)
    name = str(file.relative_to(world.folder))
    if number == 8:
        world.wav(name, np.full((800, 2), 0.1))
        return Broken(arguments, (str(file), "2 channels where 1 is expected"))
    rate = draw.choice([8000, 11025, 22050, 44100, 48000])
    world.wav(name, np.full(800, 0.1), rate)
    return Broken(arguments, (str(file), f"{rate} Hz where 16000 Hz is expected", "resample"))


def table(world: World, draw: Random, number: int) -> Broken:
    mixtures = world.data.mixtures.path
    if number == 9:
        lost = world.folder / "lost.wav"
        return Broken(
            world.separate(world.write("list.scp", f"a {lost}\n")), (str(lost), "no such")
        )
    name = draw.choice(["wav.scp", "spk1.scp", "spk2.scp", "text_spk1", "utt2dur"])
    path = mixtures / name
    lines = path.read_text().splitlines(keepends=True)
    at = draw.randrange(1, len(lines))
    key = lines[at].split()[0]
    edits: list[tuple[list[str], str]] = [
        ([*lines[:at], f"{key}\n", *lines[at + 1 :]], f":{at + 1}: no value for id '{key}'"),
        ([*lines[:at], lines[at], *lines[at:]], f":{at + 2}: duplicate id '{key}'"),
        ([*lines[:at], "\n", *lines[at:]], f":{at + 1}: blank line"),
        ([*lines[: at - 1], lines[at], lines[at - 1], *lines[at + 1 :]], "is out of order"),
        ([*lines[:-1], lines[-1].rstrip("\n")], "may be cut off"),
        ([*lines, "\udcff\n"], "not UTF-8"),
        ([], "no entries"),
        ([*lines[:at], *lines[at + 1 :]], key),
    ]
    if number == 8:
        (path := mixtures / draw.choice(["spk1.scp", "utt2spk", "utt2dur"])).unlink()
        return Broken(world.separate(mixtures), (str(path), "no such file"))
    if number == 0 and name == "text_spk1":  # where it may be empty, its speakers may not
        path = mixtures / "utt2spk"
    edited, says = edits[number]
    path.write_bytes("".join(edited).encode(errors="surrogateescape"))
    command = [world.separate(mixtures), world.train(), world.recognise()][number % 3]
    # A mixture that wav.scp lacks is told by the table that has it.
    return Broken(command, (says,) if number == 7 else (str(path), says))


def name_of_a_path(world: World, draw: Random, number: int) -> Broken:
    names = (
        *("../up", "../../up", "a/../../up", "/tmp/up", "a/b", "./a", "a/"),
        *("$(touch${IFS}up)/a", "`touch\\up`/../..", "a;touch/up|b"),
    )
    key = names[number]
    mixtures = world.data.mixtures.path
    if number % 2:
        path = world.write("list.scp", f"{key} {world.data.mixtures.mixtures[0].mixture}\n")
        return Broken(world.separate(path), (f"'{key}'", "can't be the name of a file"))
    old = draw.choice([m.id for m in world.data.mixtures.mixtures])
    for file in mixtures.iterdir():
        if file.name != "info.yaml":
            lines = [
                " ".join(key if word == old else word for word in line.split())
                for line in file.read_text().splitlines()
            ]
            file.write_text("\n".join(sorted(lines)) + "\n")
    command = [world.separate(mixtures), world.recognise()][number // 2 % 2]
    return Broken(command, (f"{mixtures}/wav.scp:", f"'{key}'", "can't be the name of a file"))


def yaml(world: World, draw: Random, number: int) -> Broken:
    line = draw.randrange(1, 5)
    text, says, command = (
        ("mixing: {segments_s: 3}\n", "segments_s", "train"),
        ("fit: {steps: many}\n", "many", "train"),
        ("fit: [1, 2]\n", "fit", "train"),
        ("# one\n" * line + "fit: {steps: [1}\n", f":{line + 1}: not valid YAML", "train"),
        ("- fit\n", "a mapping of names to values is expected", "train"),
        ("layers: two\n", "two", "separator"),
        (f"wings_{line}: 2\n", f"wings_{line}", "separator"),
        (f"{READER}beams: 2\n", "beams", "reader"),
        (f"{READER}batch_size: some\n", "some", "reader"),
        (b"\xff\xfe\0" + draw.randbytes(20), "not valid YAML", "reader"),
    )[number]
    path = world.write("bad.yaml", text)
    arguments = {
        "train": world.train(config=path),
        "separator": world.train(separator=path),
        "reader": world.recognise(path),
    }[command]
    return Broken(arguments, (str(path), says))


def separator(world: World, draw: Random, number: int) -> Broken:
    config, weights = world.model / "config.json", world.model / "model.safetensors"
    described, content = json.loads(config.read_text()), weights.read_bytes()
    path = weights if number < 5 else config
    if number < 3:
        path.write_bytes((content[: draw.randrange(len(content))], b"", b"no weights")[number])
        says = "not a safetensors file"
    elif number == 3:
        path.unlink()
        says = "no weights"
    elif number == 4:
        path.write_bytes(content[:-4] + np.float32(np.nan).tobytes())
        says = "not finite"
    else:
        says = "does not describe a separator"
        if number == 5:
            config.write_text(config.read_text()[: draw.randrange(10, 100)])
        elif number == 6:
            config.write_text(draw.choice(["[]", '"a"', "7", "null"]))
        elif number == 7:
            del described["config"]
        elif number == 8:
            described["config"] |= {draw.choice(["layers", "channels", "kernel"]): "two"}
        else:
            key = draw.choice(["heads", "layers", "width", "channels", "fs", "stride"])
            described["config"] |= {key: draw.choice([0, -1])}
            says = key
        if number > 6:
            config.write_text(json.dumps(described))
    audio = world.wav("a.wav", np.zeros(900))
    train = world.train(separator=None, init=world.model)
    return Broken([world.separate(audio), train][number % 2], (str(path), says))


def transcript(world: World, draw: Random, number: int) -> Broken:
    exp, ids = world.folder / "exp", [m.id for m in world.data.mixtures.mixtures]
    decode = exp / "decode/clean/mine"
    for stream in (1, 2):
        write_table(decode / f"text_spk{stream}", dict.fromkeys(ids, "ONE"))
    world.write("exp/decode/clean/mine/guard.csv", "id,stream,rule\n")
    world.write("exp/decode/clean/mine/recogniser.json", "{}")
    key, path = draw.choice(ids), decode / f"text_spk{draw.choice([1, 2])}"
    lines = path.read_text().splitlines(keepends=True)
    contents: list[tuple[str, str]] = [
        ("".join(line for line in lines if line.split()[0] != key), f"mixture '{key}'"),
        ("".join([*lines, lines[-1]]), f":{len(lines) + 1}: duplicate id"),
        ("".join(lines)[: -draw.randrange(1, 4)], "may be cut off"),
        ("", "no entries"),
    ]
    guards = (
        "id,rule\n",
        f"id,stream,rule\n{key},one,length\n",
        "id,stream,rule\nnobody,1,length\n",
    )
    if number < 4:
        path.write_text(contents[number][0])
        says = contents[number][1]
    elif number == 4:
        path.unlink()
        says = "no such file"
    elif number < 8:
        path = world.write("exp/decode/clean/mine/guard.csv", guards[number - 5])
        says = (":1: the header", ":2: not the id", ":2: not the id")[number - 5]
    else:
        path = world.write("exp/decode/clean/mine/recogniser.json", ("{", "[]")[number - 8])
        says = ("not JSON", "does not say who read")[number - 8]
    if number < 8:
        reader = {"name": "mine", "family": "none", "weights": "none", "identity": "none"}
        world.write("exp/decode/clean/mine/recogniser.json", json.dumps(reader))
    command = ["score", "--recipe", "x", "--data", world.data.mixtures.path, "--exp", exp]
    more = ["--systems", "clean", "--recognisers", "mine", "--out", world.out]
    return Broken([*command, *more], (str(path), says))


def archive(world: World, draw: Random, number: int) -> Broken:
    word = f"outside{draw.randrange(99)}"
    names = (f"../{word}", f"exp/../../{word}", f"..\\{word}", f"/tmp/{word}", f"C:\\{word}")
    path = world.folder / "zoo.zip"
    link = zipfile.ZipInfo("exp/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as zoo:
        zoo.writestr("meta.yaml" if number != 6 else "beta.yaml", "asr_model_file: a.pth\n")
        if number < 5:
            zoo.writestr(names[number], draw.randbytes(50))
        elif number == 5:
            zoo.writestr(link, "/etc")
    content = path.read_bytes()
    if number > 6:
        path.write_bytes((content[: draw.randrange(9, 40)], b"", b"no zip")[number - 7])
    says = (*["leave the folder"] * 3, *["absolute name"] * 2, "not a plain file", "no meta.yaml")
    settings = "name: mine\nfamily: espnet\nweights: mine\n"
    reader = world.write("zoo.yaml", f"{settings}kind: espnet\nmodel: {path}\n")
    rest = f"source: espnet\nmodel: {path}\nlayer: last\ndistance: mse\nlevel: rms\nfs: 16000\n"
    encoder = world.write("encoder.yaml", settings + rest)
    train = [*world.train(encoder=encoder), "--set", "loss.kind=guided"]
    said = says[number] if number < 7 else "zoo.zip"
    return Broken([world.recognise(reader), train][number % 2], (str(path), said))


def output(world: World, draw: Random, number: int) -> Broken:
    audio = world.wav("a.wav", 0.1 * np.sin(np.arange(900)))
    taken, full = world.write("taken", "something else\n"), world.out
    below = taken / draw.choice(["below", "below/deep"])
    noise, _ = world.corpus("noise", draw)
    tell = ["--recogniser", "pocketsphinx"]
    command, place = (
        ([*world.separate(audio), "-o", taken], taken),
        ([*world.separate(audio), "-o", below], taken),
        ([*world.separate(audio), "-o", "/proc/none"], "/proc/none"),
        ([*world.separate(world.data.mixtures.path), "-o", below], taken),
        (world.train(out=below), taken),
        ([*noise, "--out", full], full),
        ([*noise, "--out", below], taken),
        (["export", world.model, "--to", "espnet", "-o", full], full),
        (["strip", world.model, "-o", full], full),
        (["transcribe", audio, "-o", taken, "--model", world.model, *tell], taken),
    )[number]
    return Broken(command, (str(place),))


KINDS: dict[str, Callable[[World, Random, int], Broken]] = {
    kind.__name__: kind
    for kind in (
        *(truncated, unreadable, other_rate, table, name_of_a_path, yaml, separator),
        *(transcript, archive, output),
    )
}
