"""Which layer of a separator a weight belongs to."""

from __future__ import annotations

from sepasr.errors import UserError
from sepasr.separator.model import Separator
from sepasr.separator.networks import TD_CONFORMER

_OUTPUT = ("supersampling", "mask_norm", "mask")


def layer_depths(separator: Separator) -> dict[str, int]:
    """How many layers lie between each weight and the output, by the weight's name.

    The masks and the decoder behind them are at 0, the last conformer layer at 1, the first at as
    many as there are, and what comes before it, subsampling, bottleneck and encoder, one deeper.

    Raises:
        UserError: the network isn't a TD-Conformer.
    """
    config = separator.config
    if config.network != TD_CONFORMER:
        raise UserError(
            f"fit.optimizer.layer_decay: the order of the layers of {config.network} isn't known",
            remedy="leave it at 1",
        )
    return {name: _depth(name, config.layers) for name, _ in separator.named_parameters()}


def _depth(name: str, layers: int) -> int:
    part, _, rest = name.partition(".")
    module, _, rest = rest.partition(".")
    if part == "decoder" or module in _OUTPUT:
        return 0
    if module == "layers":
        return layers - int(rest.partition(".")[0])
    return layers + 1
