import pytest
import torch
from ctranslate2.converters.transformers import WhisperLoader
from encoder_helpers import randomised
from transformers import WhisperConfig, WhisperForConditionalGeneration

from sepasr.encoder.ct2 import read_variables
from sepasr.encoder.whisper import from_ctranslate2
from sepasr.errors import UserError

TINY = WhisperConfig(
    d_model=16,
    encoder_layers=2,
    decoder_layers=1,
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    encoder_ffn_dim=24,
    decoder_ffn_dim=24,
    max_source_positions=100,
    vocab_size=60,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    decoder_start_token_id=1,
)


def converted(model, folder, quantization=None):
    """A folder as ctranslate2's own converter writes it."""
    spec = WhisperLoader().get_model_spec(model)
    spec.register_vocabulary([str(token) for token in range(TINY.vocab_size)])
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir()
    spec.save(str(folder))
    return folder


def test_variables_are_those_that_ctranslate2_wrote(tmp_path):
    model = randomised(WhisperForConditionalGeneration(TINY))
    variables = read_variables(converted(model, tmp_path / "model"))
    state = model.state_dict()
    for name, source in {
        "encoder/conv1/weight": "model.encoder.conv1.weight",
        "encoder/layer_1/ffn/linear_0/bias": "model.encoder.layers.1.fc1.bias",
        "decoder/layer_norm/gamma": "model.decoder.layer_norm.weight",
        # Tied to the embeddings, and stored as an alias.
        "decoder/projection/weight": "model.decoder.embed_tokens.weight",
    }.items():
        assert torch.equal(variables[name], state[source])
    assert int(variables["encoder/num_heads"]) == 2


@pytest.mark.parametrize("quantization", [None, "float16"])
@pytest.mark.parametrize("change", [randomised, lambda model: model], ids=["random", "as built"])
def test_whisper_converts_back_to_what_it_was(tmp_path, quantization, change):
    """A model as it is built has equal biases and norms, which the file holds once."""
    model = change(WhisperForConditionalGeneration(TINY))
    encoder = from_ctranslate2(converted(model, tmp_path / "model", quantization))
    expected = model.model.encoder.state_dict()
    assert set(encoder.state_dict()) == set(expected)
    for name, value in encoder.state_dict().items():
        stored = expected[name].half().float() if quantization else expected[name]
        assert torch.equal(value, stored), name
    assert encoder.config.encoder_attention_heads == 2
    assert encoder.config.max_source_positions == 100


def test_quantised_weights_are_refused(tmp_path):
    folder = converted(WhisperForConditionalGeneration(TINY), tmp_path / "model", "int8")
    with pytest.raises(UserError, match=r"model: quantised weights .*--quantization float16"):
        from_ctranslate2(folder)


@pytest.mark.parametrize("size", [0, 3, 100, 20_000])
def test_truncated_file(tmp_path, size):
    folder = converted(WhisperForConditionalGeneration(TINY), tmp_path / "model")
    whole = (folder / "model.bin").read_bytes()
    assert len(whole) > 20_000
    (folder / "model.bin").write_bytes(whole[:size])
    with pytest.raises(UserError, match=r"model\.bin: not a complete CTranslate2 model"):
        read_variables(folder)


def test_other_version_and_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"no model\.bin"):
        read_variables(tmp_path)
    (tmp_path / "model.bin").write_bytes((5).to_bytes(4, "little") + bytes(100))
    with pytest.raises(UserError, match="it has version 5"):
        read_variables(tmp_path)


def test_another_network(tmp_path):
    (tmp_path / "model.bin").write_bytes(
        (6).to_bytes(4, "little") + b"\x02\x00X\x00" + bytes(4) + bytes(4) + bytes(4)
    )
    with pytest.raises(UserError, match="no Whisper encoder in"):
        from_ctranslate2(tmp_path)
