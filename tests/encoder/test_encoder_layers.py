import pytest
import torch
from encoder_helpers import encoder_config

from sepasr.config import load_config
from sepasr.encoder.base import EncoderConfig
from sepasr.encoder.layers import Layers
from sepasr.errors import UserError

STATES = {name: torch.full((1, 2, 3), float(name)) for name in range(4)}
STATES["last"] = torch.full((1, 2, 3), 10.0)


def layers(layer, num_layers=3):
    return Layers.of(encoder_config(layer=layer), num_layers)


@pytest.mark.parametrize(
    ("layer", "names", "highest"),
    [
        ("last", ("last",), 3),
        (0, (0,), 0),
        (3, (3,), 3),
        ([2], (2,), 2),
        (["last", 2, 1], (1, 2, "last"), 3),
        ([1, 0], (0, 1), 1),
        ({"last": 0.75, 1: 0.25}, (1, "last"), 3),
        ({2: 0.5, 0: 0.5}, (0, 2), 2),
    ],
)
def test_names_in_order_and_the_highest(layer, names, highest):
    read = layers(layer)
    assert read.names == names
    assert read.highest == highest
    assert read.last == ("last" in names)


def test_one_state_is_itself():
    assert layers(2).combine(STATES) is STATES[2]
    assert layers([2]).combine(STATES) is STATES[2]


def test_several_stand_side_by_side_in_order():
    combined = layers(["last", 3, 1]).combine(STATES)
    assert combined.shape == (1, 2, 9)
    assert combined[0, 0].tolist() == [1, 1, 1, 3, 3, 3, 10, 10, 10]


def test_a_weighting_is_one_sum():
    combined = layers({"last": 0.75, 2: 0.25}).combine(STATES)
    assert torch.equal(combined, torch.full((1, 2, 3), 8.0))


def test_states_not_asked_for_are_left_alone():
    assert torch.equal(
        layers([1, 2]).combine({1: STATES[1], 2: STATES[2]})[0, 0, :3], torch.ones(3)
    )


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (-1, "layer -1: libraries differ in what a negative number means"),
        ([3, -2], "layer -2: libraries differ"),
        ({-1: 1.0}, "layer -1: libraries differ"),
        ("first", "no layer 'first'"),
        (True, "no layer 'True'"),
        (1.0, "no layer '1.0'"),
        (None, "no layer 'None'"),
        ([[1]], r"no layer '\[1\]'"),
        ([], "no layer is named"),
        ({}, "no layer is named"),
        ([1, 2, 1], "a layer is named twice"),
        ({1: 0.5, 2: "half"}, "not a weighting"),
        ({1: 1.5, 2: -0.5}, "not a weighting"),
        ({1: 0.0, 2: 1.0}, "not a weighting"),
        ({1: float("nan"), 2: 0.5}, "not a weighting"),
        ({1: 0.5, 2: 0.6}, "the weights sum to 1.1, not 1"),
    ],
)
def test_what_is_not_a_layer_is_refused_without_a_model(layer, message):
    with pytest.raises(UserError, match=message) as raised:
        encoder_config(layer=layer)
    assert "\n" not in str(raised.value)


def test_weights_of_two_decimals():
    assert layers({0: 0.33, 1: 0.33, 2: 0.33}).weights == (0.33, 0.33, 0.33)


@pytest.mark.parametrize("layer", [4, [1, 4], {4: 1.0}])
def test_a_layer_that_the_model_lacks(layer):
    with pytest.raises(
        UserError, match=r"tiny: no layer '4' in a model of 3 layers .0 .* to 3, or"
    ):
        layers(layer)


YAML = """
name: tiny
family: wav2vec2
weights: tiny
source: huggingface
model: nowhere/tiny
distance: mse
level: model
fs: 16000
"""


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("last", "last"),
        ("6", 6),
        ("[6, 9, last]", [6, 9, "last"]),
        ("{6: 0.25, last: 0.75}", {6: 0.25, "last": 0.75}),
    ],
)
def test_every_form_in_a_file_and_as_an_override(tmp_path, written, read):
    file = tmp_path / "tiny.yaml"
    file.write_text(f"{YAML}layer: {written}\n")
    from_file = load_config(EncoderConfig, [file])
    assert from_file.layer == read
    assert type(from_file.layer) is type(read)
    file.write_text(f"{YAML}layer: 0\n")
    assert load_config(EncoderConfig, [file], [f"layer={written}"]).layer == read


def test_a_bad_layer_is_found_as_the_file_is_read(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(f"{YAML}layer: -1\n")
    with pytest.raises(UserError, match=r"tiny\.yaml: encoder tiny: layer -1: libraries differ"):
        load_config(EncoderConfig, [file])


def test_a_weighting_laid_over_another_does_not_pass_silently(tmp_path):
    """Configurations are merged, so the layers of both are in the outcome."""
    file = tmp_path / "tiny.yaml"
    file.write_text(f"{YAML}layer: {{6: 0.25, last: 0.75}}\n")
    with pytest.raises(UserError, match=r"the weights sum to 1.25, not 1 .a mapping laid over"):
        load_config(EncoderConfig, [file], ["layer={last: 1.0}"])
