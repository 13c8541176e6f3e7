"""Networks by name: the TD-Conformer, ESPnet's separators of one channel, and classes of one's own.

Each ESPnet class is imported when it is asked for, from its own module: ``espnet2.tasks.enh``,
which lists them, takes many seconds. What ESPnet has besides those of :data:`NETWORKS` can't serve:

- ``wpe_beamformer``, ``fasnet``, ``ineube`` want several microphones (with one, iNeuBe's second
  network has nothing to do).
- ``dan`` wants the references while it is trained; ``dpcl`` gives no estimates then.
- ``dpcl_e2e`` iterates until the whole batch has converged, so that a mixture's estimates depend on
  its neighbours.
- ``dccrn`` masks the mixture for the first speaker, then masks that estimate for the second one.
- ``asteroid`` wraps another toolkit, whose pretrained weights are pickles.
- the extractors of a target speaker want an enrolment.

``uses2`` has weights that model channels, and some do nothing for a single one: on several devices
at once it trains with ``num_spatial_blocks: 0`` only.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sepasr.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from sepasr.separator.config import SeparatorConfig

TD_CONFORMER = "td_conformer"
CONV, STFT, WAVEFORM = FILTERBANKS = ("conv", "stft", "waveform")


@dataclass(frozen=True)
class Framing:
    """How a waveform is cut into frames.

    Attributes:
        kernel: samples of a frame.
        stride: samples from one to the next.
        centred: whether the first frame is centred on the first sample, and what it lacks filled
            with a reflection of the signal, as an STFT does.
        least: frames that a network needs, of a centred framing.
    """

    kernel: int
    stride: int
    centred: bool = False
    least: int = 1

    def __post_init__(self) -> None:
        if self.centred and (self.kernel % 2 or not 0 < self.stride <= self.kernel // 2):
            raise UserError(
                f"an STFT of {self.kernel} samples every {self.stride}",
                remedy="take an even window, and at most half of it as the hop",
            )

    def padding(self, samples: int) -> tuple[int, int]:
        """How many zeros go before and after so many samples.

        They make the frames whole, and let every window that can cover a sample cover it, the first
        and last samples as all others.
        """
        if self.centred:
            frames = -(-max(samples, 1) // self.stride)
            # One hop more than is needed, so that there is always a zero; and at least a window,
            # for the reflection.
            frames = max(frames + 1, self.least - 1)
            return 0, max(frames * self.stride, self.kernel) - samples
        left = self.kernel - self.stride
        # Where the last window begins.
        last = (left + max(samples, 1) - 1) // self.stride * self.stride
        return left, last + self.kernel - left - samples


@dataclass(frozen=True)
class Network:
    """A separator with the interface of ESPnet's.

    Attributes:
        module: below ``espnet2.enh.separator``, or of one's own.
        name: of the class.
        filterbanks: what it can work on.
        speakers: which argument says how many speakers there are.
        framing: of a network on waveforms, from the arguments that it is built with.
        given: further arguments that follow from the configuration.
        float32: whether it makes complex numbers of what it computes: there are none of bfloat16.
        positions: whether it keeps a table of positions, which grows with what it hears.
        own: whether it is none of ESPnet's.
    """

    module: str
    name: str
    filterbanks: tuple[str, ...]
    speakers: str = "num_spk"
    framing: Callable[[Mapping[str, Any]], Framing] | None = None
    given: Callable[[SeparatorConfig], dict[str, Any]] = lambda config: {}
    float32: bool = False
    positions: bool = False
    own: bool = False

    @property
    def cls(self) -> type[nn.Module]:
        """The class itself.

        Raises:
            UserError: it, or a package that it imports, is missing; or one's own is no network.
        """
        path = self.module if self.own else f"espnet2.enh.separator.{self.module}"
        try:
            with quiet():
                module = importlib.import_module(path)
        except ImportError as error:
            remedy = "tools/install.sh --extras espnet"
            if self.own:
                remedy = "put the folder of the module on PYTHONPATH, or install its package"
            what = f"can't be imported: {error}"
            raise UserError(what, where=f"network {path}.{self.name}", remedy=remedy) from None
        cls: Any = getattr(module, self.name, None)
        if self.own:
            self._check(cls, f"network {path}.{self.name}")
        return cls

    def _check(self, cls: object, where: str) -> None:
        """Nothing but a network is called: a model that is loaded from somewhere names its class.

        Raises:
            UserError: the class is none.
        """
        from torch import nn

        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            what = "there is no such class of torch.nn.Module in the module"
            raise UserError(what, where=where, remedy="name it MODULE.CLASS")
        missing = [
            name
            for name in ("input_dim", self.speakers)
            if name not in inspect.signature(cls).parameters
        ]
        if missing:
            what = f"its constructor has no argument '{missing[0]}'"
            remedy = "see docs/separators.md for what a network is built with"
            raise UserError(what, where=where, remedy=remedy)


def _windowed(arguments: Mapping[str, Any]) -> Framing:
    # The first version's LSTMs see emb_ks frames at a time, and it doesn't pad to them.
    least = arguments["emb_ks"]
    return Framing(arguments["n_fft"], arguments["stride"], centred=True, least=least)


def _half_overlapping(arguments: Mapping[str, Any]) -> Framing:
    kernel = arguments["kernel_size"]
    if kernel < 2:
        raise UserError(
            f"kernel_size {kernel} has no half to move on by", remedy="take an even one"
        )
    return Framing(kernel, kernel // 2)


_MASKS = (CONV, STFT)
NETWORKS: dict[str, Network] = {
    "tcn": Network("tcn_separator", "TCNSeparator", _MASKS),
    "rnn": Network("rnn_separator", "RNNSeparator", _MASKS),
    "dprnn": Network("dprnn_separator", "DPRNNSeparator", _MASKS),
    "dptnet": Network("dptnet_separator", "DPTNetSeparator", _MASKS),
    "skim": Network("skim_separator", "SkiMSeparator", _MASKS),
    "conformer": Network("conformer_separator", "ConformerSeparator", _MASKS, positions=True),
    "transformer": Network("transformer_separator", "TransformerSeparator", _MASKS, positions=True),
    "dc_crn": Network("dc_crn_separator", "DC_CRNSeparator", (STFT,), float32=True),
    "bsrnn": Network(
        "bsrnn_separator",
        "BSRNNSeparator",
        (STFT,),
        given=lambda config: {"target_fs": config.fs},
    ),
    "tfgridnetv3": Network("tfgridnetv3_separator", "TFGridNetV3", (STFT,), "n_srcs", float32=True),
    "uses": Network("uses_separator", "USESSeparator", (STFT,), float32=True),
    "uses2": Network("uses2_separator", "USES2Separator", (STFT,), float32=True),
    "svoice": Network(
        "svoice_separator", "SVoiceSeparator", (WAVEFORM,), framing=_half_overlapping
    ),
    "tfgridnet": Network(
        "tfgridnet_separator", "TFGridNet", (WAVEFORM,), "n_srcs", framing=_windowed
    ),
    "tfgridnetv2": Network(
        "tfgridnetv2_separator", "TFGridNetV2", (WAVEFORM,), "n_srcs", framing=_windowed
    ),
}
"""ESPnet's separators, by the names that ESPnet gives them."""


def find_network(name: str) -> Network | None:
    """The network of this name, or of this class ``MODULE.CLASS``; None for the TD-Conformer.

    Raises:
        UserError: there is no such network.
    """
    module, _, own = name.rpartition(".")
    if all(part.isidentifier() for part in name.split(".")) and module:
        return Network(module, own, _MASKS, own=True)
    if name != TD_CONFORMER and name not in NETWORKS:
        known = ", ".join([TD_CONFORMER, *NETWORKS])
        raise UserError(
            f"unknown network '{name}'", remedy=f"known: {known}; or a class of yours, MODULE.CLASS"
        )
    return NETWORKS.get(name)


@contextmanager
def quiet() -> Iterator[None]:
    """Importing ESPnet's modules warns of how they name torch's autocast."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
