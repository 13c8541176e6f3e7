"""How an encoder of the loss is described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sepasr.encoder.layers import check_form
from sepasr.separator.config import refuse_several


@dataclass
class EncoderConfig:
    """An encoder of the loss, as ``conf/encoder/NAME.yaml`` states it.

    Attributes:
        name: what tables call it.
        family: architecture and training it shares with recognisers (``wav2vec2``, ``whisper``).
        weights: identity of its weights; a recogniser with the same is "seen" by the loss.
        source: the route by which it is loaded: a key of ``sepasr.encoder.base.SOURCES``,
            or the dotted name of a module of the user's own that has
            ``build_model(conf: EncoderConfig) -> FrameModel``.
        model: directory, name on the source's hub, or ``package:NAME`` (``sepasr.models``).
        layer: ``k`` for the hidden state after k transformer layers, as Hugging Face counts them
            (0 is the input of the first), or ``last`` for the model's final output, behind its
            final norm where it has one. Negative numbers are refused: -1 is before that norm in
            transformers and behind it in s3prl. A list of these, ``[6, 9, last]``, puts the states
            side by side; a mapping, ``{6: 0.25, last: 0.75}``, is their weighted sum.
        distance: how frames are compared, a key of ``sepasr.loss.distance.DISTANCES``; ``mse`` is
            the paper's.
        level: what the waveform is brought to before the model hears it, a key of
            ``sepasr.encoder.level.LEVELS``.
        fs: sampling rate in Hz.
        revision: branch, tag or commit of ``model`` on the Hugging Face hub.
        shuffle_seed: draws a new order for the elements of every weight tensor: an untrained
            encoder of the same shape, to show what the training of the real one is worth. None
            leaves the weights as they are.

    Raises:
        UserError: ``layer`` is none of the above, or what names the encoder holds a ``+``.
    """

    name: str
    family: str
    weights: str
    source: str
    model: str
    layer: Any  # OmegaConf has no type for what it may be; checked below
    distance: str
    level: str
    fs: int
    revision: str | None = None
    shuffle_seed: int | None = None

    def __post_init__(self) -> None:
        where = f"encoder {self.name}"
        check_form(self.layer, where)
        refuse_several(where, self.name, self.family, self.weights)

    @property
    def identity(self) -> tuple[str, str, str]:
        """Name, family and weights of what is heard: no recogniser is akin to shuffled weights."""
        if self.shuffle_seed is None:
            return self.name, self.family, self.weights
        weights = f"{self.weights}, shuffled by {self.shuffle_seed}"
        return f"{self.name}_shuffled", "untrained", weights
