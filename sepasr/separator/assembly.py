"""A separator's encoder, mask network and decoder, put together as its configuration says."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from sepasr.errors import UserError
from sepasr.separator.networks import (
    CONV,
    FILTERBANKS,
    STFT,
    WAVEFORM,
    Framing,
    Network,
    find_network,
    quiet,
)

if TYPE_CHECKING:
    from torch import nn

    from sepasr.separator.config import SeparatorConfig

# Decided here: by the other settings, or because a mono mixture and its speakers are all there is.
_RESERVED = (
    "input_dim",
    "num_spk",
    "n_srcs",
    "predict_noise",
    "n_imics",
    "ref_channel",
    "additional",
)


def check_filterbank(config: SeparatorConfig) -> None:
    """Check that there is such a network and filterbank, and that the one works on the other.

    Raises:
        UserError: it doesn't, with what it works on.
    """
    if config.filterbank not in FILTERBANKS:
        raise UserError(
            f"unknown filterbank '{config.filterbank}'", remedy=f"known: {', '.join(FILTERBANKS)}"
        )
    network = find_network(config.network)
    kinds = network.filterbanks if network else (CONV,)
    if config.filterbank not in kinds:
        raise UserError(
            f"the network {config.network} can't work on filterbank {config.filterbank}",
            remedy=f"set filterbank to {' or '.join(kinds)}",
        )


def check_arguments(config: SeparatorConfig) -> None:
    """Check that the network's class takes these arguments; nothing is built.

    Raises:
        UserError: it doesn't, with what it takes.
    """
    network = find_network(config.network)
    if network:
        _bound(network, config)
    _framing(config)


def _bound(network: Network, config: SeparatorConfig) -> inspect.BoundArguments:
    """The arguments that a network's class is built with, its defaults among them."""
    given = network.given(config)
    signature = inspect.signature(network.cls)
    known = [n for n in signature.parameters if n not in _RESERVED and n not in given]
    unknown = [name for name in config.arguments if name not in known]
    if unknown:
        raise UserError(
            f"the network {config.network} has no argument '{unknown[0]}' to set",
            remedy=f"known: {', '.join(known)}",
        )
    width = {CONV: config.channels, STFT: config.kernel // 2 + 1, WAVEFORM: 1}[config.filterbank]
    own = {"input_dim": width, network.speakers: config.num_speakers}
    try:
        bound = signature.bind(**own, **given, **config.arguments)
    except TypeError as error:
        raise UserError(
            f"the network {config.network} lacks arguments: {error}",
            remedy=f"known: {', '.join(known)}",
        ) from None
    bound.apply_defaults()
    return bound


def _framing(config: SeparatorConfig) -> Framing:
    network = find_network(config.network)
    if network and network.framing:
        return network.framing(_bound(network, config).arguments)
    return Framing(config.kernel, config.stride, centred=config.filterbank == STFT)


def build(config: SeparatorConfig) -> tuple[Any, Any, Any, Framing]:
    """Encoder, mask network and decoder with new weights, and how they cut a waveform into frames.

    The three are ESPnet's interfaces: ``encoder(waveform, lengths)``, ``separator(frames,
    lengths)`` and ``decoder(frames, lengths)``.

    Raises:
        UserError: a network's class refuses the arguments.
    """
    network = find_network(config.network)
    # In this order, which decides the random numbers that become the weights of each.
    encoder = _encoder(config)
    separator = _espnet(network, config) if network else _td_conformer(config)
    return encoder, separator, _decoder(config), _framing(config)


def _td_conformer(config: SeparatorConfig) -> nn.Module:
    from sepasr.separator.tdconformer import TDConformer

    return TDConformer(
        config.channels,
        config.num_speakers,
        config.width,
        config.hidden,
        config.heads,
        config.layers,
        config.depthwise_kernel,
        config.subsamplings,
        config.dropout,
        config.attention_dropout,
        config.subsampling_padding,
    )


def _espnet(network: Network, config: SeparatorConfig) -> nn.Module:
    bound = _bound(network, config)
    try:
        return network.cls(*bound.args, **bound.kwargs)
    except Exception as error:  # each class refuses arguments in its own way
        cause = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UserError(
            f"the network {network.name} can't be built: {cause}", remedy="see its docstring"
        ) from error


def _encoder(config: SeparatorConfig) -> nn.Module:
    if config.filterbank == CONV:
        from sepasr.separator.filterbank import Analysis

        return Analysis(config.channels, config.kernel, config.stride)
    if config.filterbank == WAVEFORM:
        from espnet2.enh.encoder.null_encoder import NullEncoder

        return NullEncoder()
    with quiet():
        from espnet2.enh.encoder.stft_encoder import STFTEncoder
    return STFTEncoder(**_window(config))


def _decoder(config: SeparatorConfig) -> nn.Module:
    if config.filterbank == CONV:
        from sepasr.separator.filterbank import Synthesis

        return Synthesis(config.channels, config.kernel, config.stride)
    if config.filterbank == WAVEFORM:
        from espnet2.enh.decoder.null_decoder import NullDecoder

        return NullDecoder()
    with quiet():
        from espnet2.enh.decoder.stft_decoder import STFTDecoder
    return STFTDecoder(**_window(config))


def _window(config: SeparatorConfig) -> dict[str, int]:
    return {"n_fft": config.kernel, "hop_length": config.stride, "default_fs": config.fs}
