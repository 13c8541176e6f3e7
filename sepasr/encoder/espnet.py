"""The encoder of any ESPnet ASR model: frontend, normalisation, pre-encoder, encoder."""

from __future__ import annotations

from argparse import Namespace
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sepasr.encoder.base import EncoderConfig, FrameModel, hub_options
from sepasr.encoder.layers import LAST, Layers
from sepasr.errors import UserError
from sepasr.foreign import (
    EspnetModel,
    espnet_built,
    espnet_import,
    espnet_snapshot,
    load_state,
    state_dict,
)
from sepasr.models import resolve_model

if TYPE_CHECKING:
    from espnet2.asr.espnet_model import ESPnetASRModel

STEP = 80  # samples; the shortest utterance is found to this accuracy
WHISPER_LONGEST = 30  # seconds; ESPnet's Whisper parts cut off what is beyond
# Settings under which parts of ESPnet compute without a gradient, and what lets one through.
FREEZING = {
    "freeze_weights": False,  # WhisperFrontend
    "freeze_encoder_steps": -1,  # ESPnetSSLFrontend: for so many steps of training, from step 0
    "freeze_finetune_updates": -1,  # wav2vec 2.0 and HuBERT of fairseq
    "freeze_encoder_updates": -1,  # HuBERT of torchaudio
}


class EspnetFrames(FrameModel):
    """Frames of an ESPnet ASR model, by its own ``encode``.

    Utterances of one length go together: the spectrogram reflects the end of the batch and not of
    the utterance, subsampling and the convolutions of Conformers see what lies beyond the mask,
    and ``utterance_mvn`` counts padding into the variance.

    Args:
        model: the model, without SpecAugment.
        layers: the states that are asked for.
        fs: sampling rate of its frontend, in Hz.

    Raises:
        UserError: it can't take even a second.
    """

    equal_lengths = True
    model: Any

    def __init__(self, model: ESPnetASRModel, layers: Layers, fs: int) -> None:
        super().__init__()
        self.fs = fs
        self.model = model.eval()
        self._layers = layers
        self._blocks = blocks(model)
        if not layers.last:
            # The norm behind them is computed in vain, and cheap.
            self._blocks = model.encoder.encoders = self._blocks[: max(layers.highest, 1)]
            model.postencoder = None
        if any("Whisper" in type(module).__name__ for module in model.modules()):
            self.longest = WHISPER_LONGEST * fs
        self._counts: dict[int, int] = {}
        self.shortest = self._find_shortest()

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """What the model gave for these lengths, tried on zeros where it wasn't asked yet."""
        for length in set(lengths.tolist()) - self._counts.keys():
            with torch.no_grad():
                self(torch.zeros(1, length, device=lengths.device), lengths.new_tensor([length]))
        return lengths.new_tensor([self._counts[length] for length in lengths.tolist()])

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """See ``FrameModel``."""
        states: dict[int | str, Tensor] = {}
        hooks = [
            hook
            for name in self._layers.names
            if isinstance(name, int)
            for hook in self._catch(name, states)
        ]
        try:
            output, _ = self.model.encode(waveform, lengths)
        finally:
            for hook in hooks:
                hook.remove()
        # Models with intermediate CTC losses give their states beside the output.
        states[LAST] = output[0] if isinstance(output, tuple) else output
        for name in self._layers.names:
            if states[name].dim() != 3 or states[name].shape[:2] != states[LAST].shape[:2]:
                what = f"the state of layer {name} is no sequence of as many frames as the output"
                remedy = "layer: last is what such an encoder has"
                raise UserError(what, where=type(self.model.encoder).__name__, remedy=remedy)
        frames = self._layers.combine(states)
        self._counts[waveform.shape[1]] = frames.shape[1]
        return frames

    def _catch(self, layer: int, states: dict[int | str, Tensor]) -> list[Any]:
        """Keep the state after so many layers, or before the first."""

        def keep(value: Any) -> None:
            # A block takes and gives (state, mask); with relative positions the state is a pair.
            while isinstance(value, tuple):
                value = value[0]
            states[layer] = value

        if layer == 0:
            return [self._blocks[0].register_forward_pre_hook(lambda module, given: keep(given))]
        block = self._blocks[layer - 1]
        return [block.register_forward_hook(lambda module, given, made: keep(made))]

    def _find_shortest(self) -> int:
        """The fewest samples that give a frame, by bisection up to a second."""
        self._try(self.fs)
        subsampling = espnet_import("espnet.nets.pytorch_backend.transformer.subsampling")
        # What its layers raise where a kernel, a window or the padding is longer than the input.
        too_short = (subsampling.TooShortUttError, RuntimeError, AssertionError, ValueError)
        fails, works = 0, self.fs // STEP
        while works - fails > 1:
            middle = (fails + works) // 2
            try:
                self._try(middle * STEP)
                works = middle
            except too_short:
                fails = middle
        return works * STEP

    def _try(self, samples: int) -> None:
        count = int(self.frame_lengths(torch.tensor([samples]))[0])
        if count < 1:
            raise ValueError("no frame")


def blocks(model: ESPnetASRModel) -> Any:
    """The encoder's layers, or nothing where they can't be told apart."""
    repeat = espnet_import("espnet.nets.pytorch_backend.transformer.repeat")
    found = getattr(model.encoder, "encoders", None)
    return found if isinstance(found, repeat.MultiSequential) else []


def load_asr(found: EspnetModel) -> ESPnetASRModel:
    """Build an ASR model and load its weights strictly, without executing a pickle.

    ESPnet's own loader drops and leaves out weights silently, and executes what is in the file.

    Raises:
        UserError: configuration and weights don't fit, or can't be read safely.
    """
    weights = state_dict(found)
    found.check_pickles()
    task = espnet_import("espnet2.tasks.asr").ASRTask
    model = espnet_built(
        lambda: task.build_model(Namespace(**deepcopy(found.settings))), found.config
    )
    load_state(model, weights, found.weights)
    return model.eval()


def build_model(conf: EncoderConfig) -> EspnetFrames:
    """Load the model from a directory, a zip or the hub, and keep what makes frames.

    Raises:
        UserError: it can't be had or loaded, hears no waveforms, or lacks the layer.
    """
    place = resolve_model(conf.model)
    options = hub_options(conf, place)
    if isinstance(place, str):
        place = espnet_snapshot(place, options.get("revision"))
    found = EspnetModel.find(place)
    model = load_asr(found)
    if model.frontend is None:
        remedy = "take a model with a frontend"
        raise UserError("it hears features, not waveforms", where=found.config, remedy=remedy)
    where = f"encoder {conf.name}"
    if not len(blocks(model)) and conf.layer not in (LAST, [LAST]):
        kind = type(model.encoder).__name__
        raise UserError(
            f"the layers of a {kind} can't be told apart", where=where, remedy=f"layer: {LAST}"
        )
    layers = Layers.of(conf, len(blocks(model)))
    _keep_what_encodes(model)
    return espnet_built(lambda: EspnetFrames(model, layers, found.fs), found.config)


def _keep_what_encodes(model: ESPnetASRModel) -> None:
    model.specaug = None
    for name in ("decoder", "joint_network", "criterion_att", "criterion_transducer"):
        if hasattr(model, name):
            setattr(model, name, None)
    # These two encoders go on from what the head reads between their layers.
    conditions = ("interctc_use_conditioning", "ctc_trim")
    if not any(getattr(model.encoder, name, False) for name in conditions):
        model.ctc = None
    model.autocast_frontend = False
    for module in model.modules():
        for setting, value in FREEZING.items():
            if hasattr(module, setting):
                setattr(module, setting, value)
        # A second copy of the weights, kept for reloading them in training.
        if getattr(module, "pretrained_params", None) is not None:
            module.pretrained_params = None
