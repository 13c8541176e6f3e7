import pytest
import torch
from encoder_helpers import encoder_config
from torch import nn

from sepasr.encoder.base import AsrEncoder, FrameModel
from sepasr.encoder.proof import prove, prove_frozen
from sepasr.errors import UserError


class Convolution(FrameModel):
    """A frame for every four samples, with dropout and, like the base models, a norm over time."""

    shortest, longest, equal_lengths = 8, 4000, True

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv1d(1, 6, 8, stride=4), nn.GroupNorm(6, 6), nn.GELU(), nn.Dropout(0.5)
        )

    def frame_lengths(self, lengths):
        return (lengths - 8) // 4 + 1

    def forward(self, waveform, lengths):
        return self.layers(waveform[:, None]).transpose(1, 2)


class Broken(Convolution):
    """A model whose output is right and whose gradient is not."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def forward(self, waveform, lengths):
        if self.fault == "detach":
            return super().forward(waveform.detach(), lengths)
        if self.fault == "no_grad":
            with torch.no_grad():
                return super().forward(waveform, lengths)
        frames = super().forward(waveform, lengths)
        if self.fault == "zero":
            return frames.detach() + 0 * frames
        if self.fault == "short" and waveform.shape[1] < 4000:
            return frames.detach()
        if self.fault == "infinite":
            return frames.detach() + (frames - frames.detach()) / 0.0 * 0.0
        return frames


def encoder(model, **changes):
    return AsrEncoder(encoder_config(name="broken", **changes), model)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("detach", "no_grad or detaches"),
        ("no_grad", "no_grad or detaches"),
        ("zero", "zero everywhere"),
        ("short", "zero for one utterance of a batch"),
        ("infinite", "not finite"),
    ],
)
def test_no_gradient_is_refused_and_the_cause_named(fault, cause):
    with pytest.raises(UserError, match=f"broken: no gradient reaches the waveform: .*{cause}"):
        prove(encoder(Broken(fault)))


def test_a_sound_model_is_accepted_even_without_grad():
    with torch.no_grad():
        prove(encoder(Broken(None)))


@pytest.mark.parametrize(
    ("shortest", "longest"), [(8, None), (16000, 16000), (40000, None), (8, 20)]
)
def test_the_trial_is_within_the_limits(shortest, longest):
    model = Convolution()
    model.shortest, model.longest = shortest, longest
    prove(encoder(model))


def test_frames_that_depend_on_the_batch_are_refused():
    model = Convolution()
    model.equal_lengths = False
    with pytest.raises(UserError, match=r"depend on its batch: .*declare equal_lengths = True"):
        prove(encoder(model))


class Rounded(Convolution):
    """Without a norm over time, so that batches may be padded; off by so much in batches."""

    equal_lengths, error = False, 0.0

    def __init__(self):
        super().__init__()
        del self.layers[1]

    def forward(self, waveform, lengths):
        return super().forward(waveform, lengths) * (1 + self.error * (len(waveform) > 1))


def test_the_tolerance():
    model = Rounded()
    prove(encoder(model))
    model.error = 0.8e-4
    prove(encoder(model))
    model.error = 1.2e-4
    with pytest.raises(UserError, match=r"relative error 1\.2e-04"):
        prove(encoder(model))
    model.error = torch.nan
    with pytest.raises(UserError):
        prove(encoder(model))


class Noisy(Convolution):
    """Dropout whatever its mode."""

    def forward(self, waveform, lengths):
        return nn.functional.dropout(super().forward(waveform, lengths), training=True)


def test_frames_that_are_random_are_refused():
    with pytest.raises(UserError, match=r"depend on its batch: .*nothing in it may be random"):
        prove(encoder(Noisy()))


class Stubborn(nn.Dropout):
    def train(self, mode=True):
        return super().train(True)


def test_a_module_in_training_mode_is_refused():
    model = Convolution()
    model.layers[3] = Stubborn(0.5)
    with pytest.raises(UserError, match=r"isn't frozen: layers\.3 is in training mode"):
        prove_frozen(encoder(model))
    sound = encoder(Convolution())
    prove_frozen(sound)
    sound.model.layers.train()
    with pytest.raises(UserError, match="isn't frozen: layers is in training mode"):
        prove(sound)


def test_a_trainable_parameter_is_refused():
    sound = encoder(Convolution())
    sound.model.layers[0].bias.requires_grad_()
    with pytest.raises(UserError, match=r"isn't frozen: layers\.0\.bias is trainable"):
        prove(sound)
    visible = encoder(Convolution())
    visible.weights_of_layers = nn.Parameter(torch.zeros(3))
    with pytest.raises(UserError, match="isn't frozen: weights_of_layers is trainable"):
        prove(visible)


class Miscounted(Convolution):
    def frame_lengths(self, lengths):
        return lengths // 4


def test_a_wrong_count_of_frames_is_refused():
    with pytest.raises(UserError, match="gives 999 frames where its frame_lengths counts 1000"):
        prove(encoder(Miscounted()))
