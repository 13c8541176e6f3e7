"""The order of the windows' streams: the cheapest in all, by overlaps and voices together."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from sepasr.decode.order import Voice, cheapest_path, link, order_windows
from sepasr.decode.voice import PRIOR_COUNT, within_variance

VARIANCE = np.full(2, 0.1)
PLACES = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [2.0, 2.0]])


@pytest.mark.parametrize("states", [1, 2, 6])
def test_the_path_is_the_cheapest_of_all(states: int) -> None:
    rng = np.random.default_rng(states)
    costs = list(rng.standard_normal((5, states)))
    moves = list(rng.standard_normal((4, states, states)))

    def total(path: tuple[int, ...]) -> float:
        steps = zip(path, path[1:], moves, strict=False)
        return sum(c[k] for c, k in zip(costs, path, strict=True)) + sum(
            m[a, b] for a, b, m in steps
        )

    best = min(product(range(states), repeat=5), key=total)
    assert tuple(cheapest_path(costs, moves)) == best


def windows(orders: list[tuple[int, ...]], seconds: float = 3.0) -> list[list[Voice | None]]:
    """Voices of windows in which speaker c is in stream ``order[c]``."""
    rng = np.random.default_rng(0)
    made = []
    for order in orders:
        streams: list[Voice | None] = [None] * len(order)
        for c, stream in enumerate(order):
            vector = PLACES[c] + 0.05 * rng.standard_normal(2)
            streams[stream] = Voice(vector, seconds)
        made.append(streams)
    return made


def overlaps(orders: list[tuple[int, ...]], loud: float = 1.0) -> list:
    """Links of windows in which every speaker goes on through the overlaps."""
    rng = np.random.default_rng(1)
    said = rng.standard_normal((len(orders), len(orders[0]), 4000)) * loud
    made = []
    for number in range(1, len(orders)):
        before, current = (
            np.stack([said[number][order.index(j)] for j in range(len(order))])
            for order in orders[number - 1 : number + 1]
        )
        made.append(link(before, current, -40.0))
    return made


@pytest.mark.parametrize(
    "orders",
    [
        [(0, 1), (1, 0), (1, 0), (0, 1), (1, 0)],
        [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)],
        [(0, 1, 2, 3), (2, 0, 3, 1), (3, 1, 0, 2), (1, 3, 2, 0)],
        [(0, 1, 2, 3, 4), (4, 0, 3, 1, 2), (1, 2, 4, 0, 3)],  # more than are tried one by one
    ],
)
def test_voices_alone_and_overlaps_alone_are_enough(orders: list[tuple[int, ...]]) -> None:
    known, sure = windows(orders), overlaps(orders)
    unheard = overlaps(orders, loud=0.0)
    nobody: list[list[Voice | None]] = [[None] * len(orders[0])] * len(orders)
    assert all(one.sure for one in sure)
    assert not any(one.sure for one in unheard)
    assert order_windows(unheard, known, VARIANCE) == orders
    assert order_windows(sure, nobody, VARIANCE) == orders


def test_an_overlap_that_is_not_sure_outweighs_a_short_voice() -> None:
    """One voice alone, in part in both streams: what it sounds like for half a second deceives."""
    orders = [(0, 1)] * 5
    voices = windows(orders)
    deceived = PLACES[0] + 0.55 * (PLACES[1] - PLACES[0])  # a little more like the other speaker
    voices[2] = [Voice(deceived, 0.5), None]
    rng = np.random.default_rng(2)
    alone = rng.standard_normal(4000)
    split = np.stack([0.65 * alone, 0.35 * alone])
    links = overlaps(orders)
    links[1] = links[2] = link(split, split, -40.0)
    assert not links[1].sure
    assert order_windows(links, voices, VARIANCE) == orders


@pytest.mark.parametrize("orders", [[(0, 1, 2), (2, 0, 1)], [(0, 1, 2, 3, 4), (4, 0, 3, 1, 2)]])
def test_the_first_window_keeps_its_order_where_a_later_one_says_more(
    orders: list[tuple[int, ...]],
) -> None:
    voices = [windows(orders, 1.0)[0], windows(orders, 6.0)[1]]
    assert order_windows(overlaps(orders, loud=0.0), voices, VARIANCE) == orders


def test_an_overlap_is_heard_as_far_as_it_is_above_the_threshold() -> None:
    said = np.random.default_rng(3).standard_normal((2, 4000))
    heard = [link(said * level, said * level, -40.0).heard for level in (10**-2.4, 10**-1.6)]
    assert 0 < heard[0] < 0.1  # at -48 dB
    assert 0.9 < heard[1] < 1  # at -32 dB


def test_the_variance_within_a_speaker_is_as_expected_and_as_seen() -> None:
    seen = [[[1.0, 3.0], [-1.0, np.nan]], [[1.0, 2.0], [1.0, 6.0]], [[9.0, 9.0]]]
    found = within_variance([[np.array(one) for one in vectors] for vectors in seen], VARIANCE)
    squares, freedom = np.array([2.0 + 0.0, 0.0 + 8.0]), np.array([1 + 1, 0 + 1])
    expected = (PRIOR_COUNT * VARIANCE + squares) / (PRIOR_COUNT + freedom)
    np.testing.assert_allclose(found, expected)
