"""A small conformer on log-mel features with a CTC head: Wav2Vec2-BERT's network, trained anew."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sepasr.encoder.level import rms_level, within
from sepasr.encoder.seamless import STRIDE, SeamlessMel, forget_rotations
from sepasr.errors import UserError
from sepasr.train.ctc_model import ModelConfig, ModelKind
from sepasr.train.utterances import FS, UtteranceBatch

BINS = 80


class Wav2Vec2BertKind(ModelKind):
    """Conformers on 80 mel bands, 20 ms per frame; positions are rotary.

    The features are those of the saved extractor, which takes ten times as long for them. Each
    layer's convolution sees no later frame, so that padding, which comes last, can't leak in.
    """

    settings = {"depthwise_kernel"}  # noqa: RUF012 - typed in the base

    def __init__(self) -> None:
        super().__init__()
        self.mel = SeamlessMel(BINS)

    @classmethod
    def build(cls, config: ModelConfig) -> Any:
        """A ``Wav2Vec2BertForCTC``.

        Raises:
            UserError: there can be no such network.
        """
        from transformers import Wav2Vec2BertConfig, Wav2Vec2BertForCTC

        if config.width % (2 * config.heads):
            raise UserError(
                f"width {config.width} can't be shared out to pairs in {config.heads} heads",
                remedy="change model.width or model.heads",
            )
        if config.depthwise_kernel % 2 == 0:
            what = f"a depthwise kernel of {config.depthwise_kernel} frames, which is even"
            raise UserError(what, remedy="change model.depthwise_kernel")
        return Wav2Vec2BertForCTC(
            Wav2Vec2BertConfig(
                **config.shared(),
                feature_projection_input_dim=STRIDE * BINS,
                conv_depthwise_kernel_size=config.depthwise_kernel,
                position_embeddings_type="rotary",
                conformer_conv_dropout=config.dropout,
                add_adapter=False,
                mask_time_prob=0.0,
                mask_feature_prob=0.0,
            )
        )

    @staticmethod
    def extractor() -> Any:
        """See :class:`ModelKind`."""
        from transformers import SeamlessM4TFeatureExtractor

        return SeamlessM4TFeatureExtractor(
            feature_size=BINS, num_mel_bins=BINS, sampling_rate=FS, stride=STRIDE
        )

    def heard(self, model: Any, batch: UtteranceBatch) -> tuple[Tensor, Tensor]:
        """Log-mel features at the level of :func:`sepasr.decode.hearing.to_level`.

        How far digital silence lies below speech depends on it.
        """
        forget_rotations(model.base_model.encoder)
        lengths = batch.mask.sum(1)
        waveforms = rms_level(batch.waveforms, batch.mask.bool(), lengths)
        features = self.mel(waveforms.float(), lengths)
        return features, within(self.mel.frame_lengths(lengths), features.shape[1]).long()

    def readable(self, model: Any, states: Tensor) -> Tensor:
        """As it is: each layer ends with a norm."""
        return states
