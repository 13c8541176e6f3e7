"""One order of the speakers for all windows of a recording.

Neighbouring windows overlap: where the overlap says which stream goes on in which, they are linked.
Where it doesn't, because speakers pause in it, a chain of linked windows ends and the next begins,
and all chains are put into one order by the voices in them: clustering in which a chain brings
each of its streams to another speaker.

From there on nothing is certain: overlaps, sure or not, and voices, long or short, are weighed
together, and the order of all windows that costs least is found (Viterbi), with the speakers'
voices as that order has them, until it stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import expit

from sepasr.decode.voice import NEW_VOICE, voice_distance, weighted_mean, within_variance

MARGIN = 0.2
"""A link is sure if the best assignment explains so much more of the overlap's energy than the
second best."""
ROUNDS = 20
LINK = 4.0
"""What an overlap weighs that explains all of its energy: as much as a squared distance of 4 over a
second of a voice. From 2 to 10 it hardly matters."""
SOFT_DB = 3.0
"""How gradually an overlap counts less when little is heard in it."""
LONGEST_S = 8.0
"""Seconds from which on more of a voice doesn't make it surer."""
MOST_SPEAKERS = 4
"""Orders are tried one by one, and there are 24 of 4 speakers."""


@dataclass(frozen=True)
class Voice:
    """A stream's voice in a window, or in several.

    Attributes:
        vector: (dimensions,), NaN where unknown.
        active_s: seconds it was made from.
    """

    vector: np.ndarray
    active_s: float


@dataclass(frozen=True)
class WindowLink:
    """What the overlap with the window before tells.

    Attributes:
        permutation: ``permutation[c]`` is the stream that continues stream ``c`` of the window
            before.
        sure: whether the overlap alone can tell.
        share: (speakers, speakers); how much of the overlap's energy is explained if the second
            stream continues the first.
        heard: from 0 to 1, how far anything is heard in it.
    """

    permutation: tuple[int, ...]
    sure: bool
    share: np.ndarray
    heard: float


def link(before: np.ndarray, current: np.ndarray, threshold_db: float) -> WindowLink:
    """Compare the streams of two windows where they overlap.

    An assignment explains the share of energy that the products of assigned streams are of the
    mean energy of the two windows. It is sure where something is said, and where it explains
    clearly more than any other assignment does.

    Args:
        before: (speakers, samples).
        current: (speakers, samples), of the same samples.
        threshold_db: mean level of the louder stream under which nothing is said, dB re full scale.
    """
    speakers = len(before)
    before, current = before.astype(np.float64), current.astype(np.float64)
    energy = (np.square(before).sum() + np.square(current).sum()) / 2
    loudest = np.square(before).mean(-1).max(initial=0.0)
    identity = tuple(range(speakers))
    if energy <= 0 or before.shape[-1] == 0:
        return WindowLink(identity, speakers == 1, np.zeros((speakers, speakers)), 0.0)
    share = before @ current.T / energy
    above_db = 10 * np.log10(loudest + 1e-12) - threshold_db
    heard = float(expit(above_db / SOFT_DB))
    best = tuple(linear_sum_assignment(-share)[1].tolist())
    if speakers == 1:
        return WindowLink(best, True, share, heard)
    # The second best assignment differs in at least one pair: forbid each pair in turn.
    total = share[range(speakers), best].sum()
    second = -np.inf
    for c in range(speakers):
        others = share.copy()
        others[c, best[c]] = -1e6
        columns = linear_sum_assignment(-others)[1]
        second = max(second, others[range(speakers), columns].sum())
    sure = bool(above_db > 0 and total - second > MARGIN)
    return WindowLink(best, sure, share, heard)


@dataclass
class _Chain:
    """Linked windows: their streams in the order of the first of them."""

    windows: list[int]
    orders: list[tuple[int, ...]]
    voices: list[list[Voice]] = field(default_factory=list)
    entry: tuple[int, ...] = ()

    def speech_s(self) -> float:
        return sum(min(voice.active_s, LONGEST_S) for voices in self.voices for voice in voices)


def order_windows(
    links: Sequence[WindowLink],
    voices: Sequence[Sequence[Voice | None]],
    variance: np.ndarray,
) -> list[tuple[int, ...]]:
    """Choose the order of the streams of every window.

    Args:
        links: of each window but the first, with the one before it.
        voices: of each window, its streams' voices; None where one says too little.
        variance: what each dimension of a voice is expected to vary within a speaker.

    Returns:
        For each window the permutation whose entry ``c`` is the stream of speaker ``c``. The first
        window keeps its order.
    """
    chains = _chains(links, voices)
    speakers = len(voices[0])
    if len(chains) == 1:
        return chains[0].orders
    of_one = [[one.vector for one in voices] for chain in chains for voices in chain.voices]
    scale = within_variance(of_one, variance)
    means = [[_mean(voices) for voices in chain.voices] for chain in chains]
    chosen = _cluster(means, [chain.speech_s() for chain in chains], scale, speakers)
    orders: list[tuple[int, ...]] = []
    for chain, order in zip(chains, chosen, strict=True):
        if order is None:  # no voice is known: go on as the overlap has it, unsure as it is
            last = orders[-1] if orders else tuple(range(speakers))
            order = tuple(chain.entry[c] for c in last) if orders else last
        orders += [tuple(window[c] for c in order) for window in chain.orders]
    if speakers <= MOST_SPEAKERS:
        orders = _settled(orders, links, voices, scale)
    first = orders[0]
    back = [first.index(c) for c in range(speakers)]
    return [tuple(order[c] for c in back) for order in orders]


def _settled(
    orders: list[tuple[int, ...]],
    links: Sequence[WindowLink],
    voices: Sequence[Sequence[Voice | None]],
    scale: np.ndarray,
) -> list[tuple[int, ...]]:
    """Weigh overlaps and voices of all windows together, from these orders on."""
    speakers = len(voices[0])
    states = np.array(list(permutations(range(speakers))))
    moves = [-LINK * one.heard * one.share[states[:, None], states[None]].sum(-1) for one in links]
    for _ in range(ROUNDS):
        centres = _centres(voices, orders, speakers)
        costs = [
            _costs(window, centres, scale)[range(speakers), states].sum(-1) for window in voices
        ]
        found = [tuple(states[k].tolist()) for k in cheapest_path(costs, moves)]
        if found == orders:
            break
        orders = found
    return orders


def cheapest_path(costs: Sequence[np.ndarray], moves: Sequence[np.ndarray]) -> list[int]:
    """The states that cost least in all, one for each time (Viterbi).

    Args:
        costs: of each time, what its states cost, (states,).
        moves: of each time but the first, what a state costs after each, (before, states).
    """
    total, back = costs[0], []
    for cost, move in zip(costs[1:], moves, strict=True):
        ways = total[:, None] + move
        back.append(ways.argmin(0))
        total = ways.min(0) + cost
    path = [int(total.argmin())]
    for before in reversed(back):
        path.append(int(before[path[-1]]))
    return path[::-1]


def _chains(links: Sequence[WindowLink], voices: Sequence[Sequence[Voice | None]]) -> list[_Chain]:
    identity = tuple(range(len(voices[0])))
    chains = [_Chain([0], [identity])]
    for number, one in enumerate(links, 1):
        last = chains[-1].orders[-1]
        if one.sure:
            chains[-1].windows.append(number)
            chains[-1].orders.append(tuple(one.permutation[c] for c in last))
        else:
            chains.append(_Chain([number], [identity], entry=one.permutation))
    for chain in chains:
        for c in identity:
            heard = [
                voices[w][order[c]] for w, order in zip(chain.windows, chain.orders, strict=True)
            ]
            chain.voices.append([voice for voice in heard if voice is not None])
    return chains


def _mean(voices: Sequence[Voice]) -> Voice | None:
    """Mean voice; None where nothing is said."""
    if not voices:
        return None
    vectors = np.stack([voice.vector for voice in voices])
    weights = np.array([voice.active_s for voice in voices])
    return Voice(weighted_mean(vectors, weights), float(weights.sum()))


def _cluster(
    means: Sequence[Sequence[Voice | None]],
    speech_s: Sequence[float],
    scale: np.ndarray,
    speakers: int,
) -> list[tuple[int, ...] | None]:
    """An order for each chain, None where none of its streams has a voice.

    The chain that says most begins; the others join in turn, and then each is asked again until
    none wants to change.
    """
    voiced = [k for k in range(len(means)) if any(mean is not None for mean in means[k])]
    chosen: list[tuple[int, ...] | None] = [None] * len(means)
    if not voiced:
        return chosen
    # Chains with more voices first, so that every speaker is known early.
    queue = sorted(voiced, key=lambda k: (-sum(m is not None for m in means[k]), -speech_s[k], k))
    chosen[queue[0]] = tuple(range(speakers))
    for round_ in range(ROUNDS):
        changed = False
        for k in queue:
            if round_ == 0 and k == queue[0]:
                continue
            centres = _centres(means, chosen, speakers, without=k)
            order = _best(means[k], centres, scale, chosen[k])
            changed |= order != chosen[k]
            chosen[k] = order
        if not changed:
            break
    return chosen


def _centres(
    means: Sequence[Sequence[Voice | None]],
    chosen: Sequence[tuple[int, ...] | None],
    speakers: int,
    without: int = -1,
) -> list[np.ndarray | None]:
    centres: list[np.ndarray | None] = []
    for c in range(speakers):
        members = [
            mean
            for k, order in enumerate(chosen)
            if order is not None and k != without and (mean := means[k][order[c]]) is not None
        ]
        if members:
            vectors = np.stack([voice.vector for voice in members])
            centres.append(weighted_mean(vectors, np.array([voice.active_s for voice in members])))
        else:
            centres.append(None)
    return centres


def _best(
    streams: Sequence[Voice | None],
    centres: Sequence[np.ndarray | None],
    scale: np.ndarray,
    present: tuple[int, ...] | None,
) -> tuple[int, ...]:
    """The cheapest assignment of a chain's streams; of equal ones, the present one."""
    speakers = len(streams)
    cost = _costs(streams, centres, scale)
    if present is not None:
        cost[range(speakers), present] -= 1e-9
    if speakers <= 3:
        candidates = permutations(range(speakers))
        return min(candidates, key=lambda order: sum(cost[c, j] for c, j in enumerate(order)))
    return tuple(linear_sum_assignment(cost)[1].tolist())


def _costs(
    streams: Sequence[Voice | None], centres: Sequence[np.ndarray | None], scale: np.ndarray
) -> np.ndarray:
    """(speakers, streams): squared distance of a stream's voice to a speaker's, times seconds."""
    cost = np.zeros((len(centres), len(streams)))
    for c, centre in enumerate(centres):
        for j, voice in enumerate(streams):
            if voice is not None:
                far = NEW_VOICE if centre is None else voice_distance(voice.vector, centre, scale)
                cost[c, j] = far * min(voice.active_s, LONGEST_S)
    return cost
