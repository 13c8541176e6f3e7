"""S3PRL's upstreams, through ESPnet's ``S3prlFrontend``."""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sepasr.encoder.base import EncoderConfig, FrameModel
from sepasr.encoder.layers import LAST, Layers
from sepasr.encoder.s3prl_convert import DOWNSAMPLING, convert_wav2vec2
from sepasr.errors import UserError
from sepasr.foreign import weights_only
from sepasr.models import resolve_model

if TYPE_CHECKING:
    from espnet2.asr.frontend.s3prl import S3prlFrontend

ESPNET_HUBERT, ESPNET_TASK = "s3prl.upstream.espnet_hubert", "espnet2.tasks.hubert"


class S3prlFrames(FrameModel):
    """Frames of an s3prl upstream.

    ``S3prlFrontend`` counts a frame for every 320 samples and repeats the last one where the model
    gives fewer; where the model's convolutions are known, the frames are cut to what they gave.
    Utterances of one length go together, because s3prl counts frames without a mask.

    Args:
        frontend: ESPnet's frontend. It sets the upstream's ``feature_grad_mult`` to 1; s3prl
            itself sets 0, with which no gradient reaches the waveform.
        layers: the states that are given.
    """

    shortest = 10 * DOWNSAMPLING  # s3prl fails an assertion on much less
    equal_lengths = True

    def __init__(self, frontend: S3prlFrontend, layers: Layers) -> None:
        super().__init__()
        # A second copy of the weights, kept by the frontend for reloading them in training.
        frontend.pretrained_params = None
        _hear_as_given(frontend.upstream.upstream)
        self.frontend = frontend
        self._layers = layers
        self._convolutions = _convolutions(frontend)
        if not layers.last:
            _drop_above(frontend, layers.highest)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """The convolutions' count; s3prl's where there are none."""
        if not self._convolutions:
            return (lengths - 1) // self.frontend.hop_length + 1
        for kernel, stride in self._convolutions:
            lengths = (lengths - kernel) // stride + 1
        return lengths

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """See ``FrameModel``."""
        # What S3prlFrontend itself calls, and then gives only one state of.
        found, _ = self.frontend.upstream(waveform, lengths)
        states = {name: found[-1 if name == LAST else name] for name in self._layers.names}
        return self._layers.combine(states)[:, : int(self.frame_lengths(lengths).max())]


def _hear_as_given(expert: Any) -> None:
    """Switch off the norm that some checkpoints ask for on what is heard.

    It comes behind the level rule, and would undo ``level: rms`` and the gains of a perturbation.
    """
    if hasattr(expert, "wav_normalize"):
        expert.wav_normalize = False
    for name in ("cfg", "task_cfg"):
        settings: Any = getattr(expert, name, None)
        if hasattr(settings, "normalize"):
            settings.normalize = False


def _drop_above(frontend: S3prlFrontend, highest: int) -> None:
    """Drop the layers above the highest one, where the upstream is a stack of transformer layers.

    s3prl's states are the inputs of the layers: that of the next layer is the state after k.
    """
    encoder: Any = getattr(getattr(frontend.upstream.upstream, "model", None), "encoder", None)
    stack = getattr(encoder, "layers", None)
    if not isinstance(stack, nn.ModuleList) or len(stack) + 1 != frontend.upstream.num_layers:
        return
    encoder.layers = stack[: highest + 1]
    # What its forward compares the number of states with.
    frontend.upstream._num_layers = len(encoder.layers) + 1


def _convolutions(frontend: S3prlFrontend) -> list[tuple[int, int]]:
    model = getattr(frontend.upstream.upstream, "model", None)
    blocks = getattr(getattr(model, "feature_extractor", None), "conv_layers", ())
    convolutions = [m for block in blocks for m in block.modules() if isinstance(m, nn.Conv1d)]
    return [(conv.kernel_size[0], conv.stride[0]) for conv in convolutions]


def build_model(conf: EncoderConfig) -> S3prlFrames:
    """Load an upstream.

    ``conf.model`` is a name of s3prl's hub (``wav2vec2_base_960``), a checkpoint file for
    s3prl's ``<family>_local``, or a Hugging Face Wav2Vec2 directory, which is converted.

    Raises:
        UserError: it can't be loaded, can't be converted, or lacks the layer.
    """
    place = resolve_model(conf.model)
    if conf.revision is not None:
        remedy = "leave it out, or take source: huggingface"
        raise UserError("s3prl knows no revisions", where=f"encoder {conf.name}", remedy=remedy)
    if isinstance(place, str):
        frontend = _frontend(conf, place, None)
    elif place.is_file():
        frontend = _frontend(conf, f"{conf.family}_local", place)
    else:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "wav2vec2.pt"
            torch.save(convert_wav2vec2(place), checkpoint)
            frontend = _frontend(conf, "wav2vec2_local", checkpoint)
    return S3prlFrames(frontend, _layers(conf, frontend))


def _frontend(conf: EncoderConfig, upstream: str, path: Path | None) -> S3prlFrontend:
    with _without_espnet_hubert():
        from espnet2.asr.frontend.s3prl import S3prlFrontend
        from s3prl import hub

    known = hub.options(only_registered_ckpt=path is None)
    if upstream not in known and upstream in hub.options():
        remedy = "name the checkpoint file as model, and the family"
        raise UserError(f"s3prl's '{upstream}' needs a checkpoint", where=conf.name, remedy=remedy)
    if upstream not in known:
        near = ", ".join(get_close_matches(upstream, known)) or "see s3prl.hub"
        raise UserError(f"s3prl has no upstream '{upstream}'", where=conf.name, remedy=near)
    if getattr(hub, upstream).__module__.startswith(ESPNET_HUBERT):
        cause = "s3prl reads it through a task of ESPnet, which isn't done here"
        raise UserError(cause, where=conf.model, remedy="take another upstream")
    source: dict[str, Any] = {"upstream": upstream}
    if path is not None:
        source["path_or_url"] = str(path)
    try:
        with weights_only(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # its weight_norm is torch's old one
            frontend = S3prlFrontend(fs=conf.fs, frontend_conf=source)
    except UnpicklingError as error:
        cause = "not a checkpoint of tensors and plain values; other pickles are not executed"
        raise UserError(cause, where=conf.model, remedy="convert it with s3prl") from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        cause = f"can't be loaded by s3prl: {next(iter(str(error).splitlines()), error)}"
        raise UserError(cause, where=conf.model, remedy=f"upstream {upstream}") from error
    return frontend


@contextmanager
def _without_espnet_hubert() -> Iterator[None]:
    """Keep s3prl from importing one task of ESPnet as it lists its upstreams.

    It takes 10 seconds and more, prints, and one of its packages reaches for the network.
    """
    logging.getLogger(f"{ESPNET_HUBERT}.expert").setLevel(logging.ERROR)  # it misses the task
    missing = ESPNET_TASK not in sys.modules
    if missing:
        sys.modules[ESPNET_TASK] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if missing:
            del sys.modules[ESPNET_TASK]


def _layers(conf: EncoderConfig, frontend: S3prlFrontend) -> Layers:
    """s3prl's states are the inputs of the layers, then the output behind the final norm."""
    total = frontend.upstream.num_layers - 1
    layers = Layers.of(conf, total)
    model = getattr(frontend.upstream.upstream, "model", None)
    norm = getattr(getattr(model, "encoder", None), "layer_norm_first", False)
    if norm and total in layers.names:
        cause = f"s3prl gives the state after layer {total} only behind the final norm"
        raise UserError(cause, where=f"encoder {conf.name}", remedy="say layer: last")
    return layers
