"""What a study's rows don't say: order, encoders of losses, families of recognisers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sepasr.score.result import RecogniserInfo, nearest_relation


@dataclass(frozen=True)
class EncoderInfo:
    """An encoder of a loss: its name, the kind of model and the identity of its weights."""

    name: str
    family: str
    weights: str


@dataclass(frozen=True)
class Facts:
    """What a study's rows don't say.

    Attributes:
        study: its name.
        order: names of the variants, as tables have them.
        against: for each variant the one it is compared with.
        encoders: for each variant those of its loss, and of the variants that it starts from.
        recognisers: all that have read, as tables have them.
    """

    study: str
    order: tuple[str, ...]
    against: Mapping[str, str]
    encoders: Mapping[str, tuple[EncoderInfo, ...]]
    recognisers: tuple[RecogniserInfo, ...]

    def relation(self, variant: str, recogniser: RecogniserInfo) -> str:
        """How a recogniser stands to the encoders: by that which is nearest to it."""
        encoders = self.encoders.get(variant, ())
        if not encoders:
            return ""
        weights, families = [e.weights for e in encoders], [e.family for e in encoders]
        return nearest_relation(weights, families, recogniser)


def family_weights(recognisers: Sequence[RecogniserInfo]) -> list[float]:
    """Weights by which a mean over recognisers is that over families of a family's mean."""
    families = [recogniser.family for recogniser in recognisers]
    return [1 / (families.count(family) * len(set(families))) for family in families]
