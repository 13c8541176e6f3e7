"""Some mixtures of a large set, for a try."""

from __future__ import annotations

from pathlib import Path

import pytest

from sepasr.bin.prepare import counts_of
from sepasr.data.datadir import Info, Mixture, MixtureDir
from sepasr.data.mixtures import few_of
from sepasr.errors import UserError


def directory(name: str, numbers: range) -> MixtureDir:
    audio = Path("m.wav")
    mixtures = tuple(
        Mixture(f"m{n}", audio, (audio, audio), None, None, ("x", "y"), 1.0) for n in numbers
    )
    return MixtureDir(Path("data", name), Info("toy", 16_000, "max", "mix", "anechoic"), mixtures)


def ids(data: MixtureDir) -> list[str]:
    return [mixture.id for mixture in data.mixtures]


def test_some_of_a_large_set_are_spread_over_it() -> None:
    data = directory("cv", range(10))
    assert ids(data.spread_out(4)) == ["m0", "m2", "m5", "m7"]
    assert data.spread_out(10) == data
    for count in (0, 11):
        with pytest.raises(UserError, match=f"{count} mixtures are asked for, of 10"):
            data.spread_out(count)


def test_a_subset_has_what_its_set_has_left() -> None:
    whole, other = directory("tt", range(10)), directory("cv", range(10))
    kinds = [directory("tt_even", range(0, 10, 2)), directory("tt_eight", range(8, 9))]
    thinned = few_of([whole, other, *kinds], {"tt": 4})
    assert [d.path.name for d in thinned] == ["tt", "cv", "tt_even"]  # nothing of the last is left
    assert list(map(ids, thinned)) == [["m0", "m2", "m5", "m7"], ids(other), ["m0", "m2"]]
    assert few_of([whole, other], {}) == [whole, other]
    with pytest.raises(UserError, match="of 'tr', which is not made"):
        few_of([whole], {"tr": 1})


def test_counts_by_set() -> None:
    assert counts_of(["cv=20", "tt=3"]) == {"cv": 20, "tt": 3}
    for wrong in ("tt", "tt=", "=3", "tt=-1", "tt=x"):
        with pytest.raises(UserError, match="is not SET=N"):
            counts_of([wrong])
