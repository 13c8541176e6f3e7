"""Encoders of the loss."""

from sepasr.encoder.base import AsrEncoder, EncoderConfig, build_encoder, load_encoder

__all__ = ["AsrEncoder", "EncoderConfig", "build_encoder", "load_encoder"]
