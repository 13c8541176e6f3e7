from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from safetensors.torch import load_file
from transformers import (
    AutoFeatureExtractor,
    AutoModelForCTC,
    Data2VecAudioConfig,
    Data2VecAudioForCTC,
    HubertConfig,
    HubertForCTC,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerForCTC,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
    Wav2Vec2Processor,
    WavLMConfig,
    WavLMForCTC,
)

from sepasr.decode.recogniser import load_recogniser
from sepasr.decode.recognisers import ctc
from sepasr.decode.recognisers.ctc import CtcDecoder, collapse
from sepasr.errors import UserError

FS = 16000
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", *"ET|AON"]
CAP = 10_000
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_depthwise_kernel_size": 7,
    "pad_token_id": 0,
}
CONVOLUTIONS = {
    "conv_dim": (16, 16),
    "conv_kernel": (160, 8),
    "conv_stride": (80, 4),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def _waveforms(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = [9000, 7123, 9000, 12345, 1600]
    return [0.1 * rng.standard_normal(n).astype(np.float32) for n in lengths]


def _model(norm: str, outputs: int) -> Wav2Vec2ForCTC:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=outputs,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16, 16),
        conv_kernel=(160, 8),
        conv_stride=(80, 4),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        pad_token_id=0,
    )
    model = Wav2Vec2ForCTC(config).eval()
    with torch.no_grad():
        # Outputs that differ from frame to frame: often a blank, never <s>, </s> or <unk>.
        model.lm_head.weight.mul_(40)
        model.lm_head.bias[0] = 2
        model.lm_head.bias[1:4] = -1000
    return model


def _save(folder: Path, model: torch.nn.Module, dtype: torch.dtype = torch.float32) -> Path:
    model.to(dtype).save_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture(params=["group", "layer"])
def letters(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tiny random model with letters as units."""
    folder = _save(tmp_path / "model", _model(request.param, len(LETTERS)))
    vocabulary = tmp_path / "vocab.json"
    vocabulary.write_text(json.dumps({letter: i for i, letter in enumerate(LETTERS)}))
    Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(folder)
    return folder


@torch.inference_mode()
def _transformers_reads(folder: Path, waveform: np.ndarray) -> str:
    """One waveform as transformers' documentation has it."""
    model = Wav2Vec2ForCTC.from_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(folder)
    heard = extractor(waveform, sampling_rate=FS, return_tensors="pt")
    ids = model(heard.input_values).logits.argmax(dim=-1)
    return tokenizer.batch_decode(ids)[0]


def test_reads_what_transformers_reads_one_by_one(letters: Path) -> None:
    waveforms = _waveforms()
    read = CtcDecoder(letters, device="cpu").decode(waveforms, [CAP] * len(waveforms))
    texts = [" ".join(_transformers_reads(letters, w).split()) for w in waveforms]
    assert [hypothesis.text for hypothesis in read] == texts
    assert len(set(texts)) == len(texts), "the model does not listen"
    assert any(" " in text for text in texts)


OTHERS = {
    "hubert": (HubertForCTC, HubertConfig, {"feat_extract_norm": "layer"}),
    "wavlm": (WavLMForCTC, WavLMConfig, {"feat_extract_norm": "layer"}),
    "wavlm-group": (WavLMForCTC, WavLMConfig, {}),
    "data2vec": (
        Data2VecAudioForCTC,
        Data2VecAudioConfig,
        {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 7},
    ),
    "conformer": (
        Wav2Vec2ConformerForCTC,
        Wav2Vec2ConformerConfig,
        {"feat_extract_norm": "layer", "position_embeddings_type": "relative"},
    ),
    "adapter": (
        Wav2Vec2ForCTC,
        Wav2Vec2Config,
        {"feat_extract_norm": "layer", "add_adapter": True, "output_hidden_size": 32},
    ),
    "bert": (Wav2Vec2BertForCTC, Wav2Vec2BertConfig, {"feature_projection_input_dim": 160}),
    "bert-adapter": (
        Wav2Vec2BertForCTC,
        Wav2Vec2BertConfig,
        {"feature_projection_input_dim": 160, "add_adapter": True, "output_hidden_size": 32},
    ),
}
HEARS_FEATURES = ("bert", "bert-adapter")


@pytest.fixture(params=list(OTHERS))
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tiny random model of another family, with letters as units."""
    cls, config, changes = OTHERS[request.param]
    torch.manual_seed(0)
    base = {} if request.param in HEARS_FEATURES else CONVOLUTIONS
    model = cls(config(**(SIZES | base | changes), vocab_size=len(LETTERS))).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(60)
        model.lm_head.bias[1:4] = -1000
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    if request.param in HEARS_FEATURES:
        SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80).save_pretrained(folder)
    else:
        Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    vocabulary = tmp_path / "vocab.json"
    vocabulary.write_text(json.dumps({letter: i for i, letter in enumerate(LETTERS)}))
    Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(folder)
    return folder


def test_other_families_are_read_as_by_transformers_in_any_batch(other: Path) -> None:
    model = AutoModelForCTC.from_pretrained(other)
    extractor = AutoFeatureExtractor.from_pretrained(other)
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(other)
    waveforms = _waveforms(seed=2)[:4]
    texts = []
    for waveform in waveforms:
        heard = extractor([waveform], sampling_rate=FS, return_tensors="pt")
        with torch.inference_mode():
            path = model(**heard).logits[0].argmax(dim=-1)
        if "input_features" in heard:
            # Features are filled up to pairs of frames, of which a masked one is no speech.
            path = path[: model._get_feat_extract_output_lengths(heard.attention_mask.sum())]
        texts.append(" ".join(tokenizer.decode(path).split()))
    read = CtcDecoder(other, device="cpu").decode(waveforms, [CAP] * len(waveforms))
    assert [hypothesis.text for hypothesis in read] == texts
    assert len(set(texts)) > 1


@pytest.mark.parametrize("family", ["data2vec-audio", "wav2vec2-conformer"])
def test_padding_would_change_what_these_read(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(ctc, "_is_masked", lambda config: True)
    name = "data2vec" if family.startswith("data2vec") else "conformer"
    cls, config, changes = OTHERS[name]
    torch.manual_seed(0)
    model = cls(config(**(SIZES | CONVOLUTIONS | changes), vocab_size=len(LETTERS))).eval()
    model.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps({u: i for i, u in enumerate(LETTERS)}))
    decoder = CtcDecoder(tmp_path, device="cpu")
    seen = []
    decoder._model.lm_head.register_forward_hook(lambda module, given, made: seen.append(made))
    waveforms = _waveforms()
    decoder.decode(waveforms, [CAP] * 5)
    decoder.decode(waveforms[1:2], [CAP])
    padded, alone = seen[0][1, : seen[1].shape[1]], seen[1][0]
    assert (padded - alone).norm() > 1e-4 * alone.norm()


def test_pickled_weights_are_read_and_code_in_them_is_not(letters: Path) -> None:
    before = CtcDecoder(letters, device="cpu").decode(_waveforms(), [CAP] * 5)
    weights = load_file(letters / "model.safetensors")
    (letters / "model.safetensors").unlink()
    torch.save(weights, letters / "pytorch_model.bin")
    assert CtcDecoder(letters, device="cpu").decode(_waveforms(), [CAP] * 5) == before

    class Code:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(letters / "trace"),)

    torch.save({**weights, "x": Code()}, letters / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin: .*no pickle is executed"):
        CtcDecoder(letters, device="cpu")
    assert not (letters / "trace").exists()


def test_does_not_depend_on_the_batch(letters: Path) -> None:
    decoder = CtcDecoder(letters, device="cpu")
    waveforms = _waveforms(seed=1)
    together = decoder.decode(waveforms, [CAP] * len(waveforms))
    alone = [decoder.decode([waveform], [CAP])[0] for waveform in waveforms]
    assert together == alone


def test_words_are_capped_each_by_its_own_cap(letters: Path) -> None:
    decoder = CtcDecoder(letters, device="cpu")
    waveforms = _waveforms()[3:1:-1]
    full = [hypothesis.text.split() for hypothesis in decoder.decode(waveforms, [CAP, CAP])]
    assert len(full[0]) > 1
    capped = decoder.decode(waveforms, [1, len(full[1])])
    assert capped[0].text.split() == full[0][:1]
    assert capped[0].cut
    assert not capped[1].cut


@pytest.fixture
def pieces(tmp_path: Path) -> Path:
    """Ten sentencepiece units of a few words."""
    text = tmp_path / "text"
    text.write_text("see the sea\nhe sees the tea\nthe tea has set\n" * 5)
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(tmp_path / "spm"), vocab_size=14, minloglevel=2
    )
    return tmp_path / "spm.model"


def test_sentencepiece_units(tmp_path: Path, pieces: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    size = processor.get_piece_size()
    model = _model("layer", size + 1)
    folder = _save(tmp_path / "model", model)
    (folder / "spm.model").write_bytes(pieces.read_bytes())
    (read,) = CtcDecoder(folder, device="cpu").decode(_waveforms()[:1], [CAP])
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    heard = extractor(_waveforms()[0], sampling_rate=FS, return_tensors="pt")
    with torch.inference_mode():
        path = model(heard.input_values).logits[0].argmax(dim=-1)
    units = torch.unique_consecutive(path)
    expected = processor.decode([int(unit) - 1 for unit in units if unit != 0])
    assert read.text == " ".join(expected.split())
    assert read.text


def test_sentencepiece_of_another_training_is_refused(tmp_path: Path, pieces: Path) -> None:
    folder = _save(tmp_path / "model", _model("layer", 40))
    (folder / "spm.model").write_bytes(pieces.read_bytes())
    with pytest.raises(UserError, match="14 pieces and a blank for 40 outputs"):
        CtcDecoder(folder, device="cpu")


def test_float16_is_stored_and_float32_computed(letters: Path, tmp_path: Path) -> None:
    model = Wav2Vec2ForCTC.from_pretrained(letters)
    half = _save(tmp_path / "half", model, torch.float16)
    for file in letters.glob("*vocab*"):
        (half / file.name).write_bytes(file.read_bytes())
    decoder = CtcDecoder(half, device="cpu")
    assert {parameter.dtype for parameter in decoder._model.parameters()} == {torch.float32}
    assert decoder.decode(_waveforms(), [CAP] * 5)
    assert (half / "model.safetensors").stat().st_size < 0.6 * (
        letters / "model.safetensors"
    ).stat().st_size


def test_collapse() -> None:
    assert collapse([0, 0, 3, 3, 0, 3, 1, 1, 0], blank=0) == [3, 3, 1]
    assert collapse([], blank=0) == []


def test_other_models_are_refused(letters: Path, tmp_path: Path) -> None:
    headless = tmp_path / "headless"
    _save(headless, Wav2Vec2Model.from_pretrained(letters))
    with pytest.raises(UserError, match="weights of Wav2Vec2ForCTC are missing: lm_head"):
        CtcDecoder(headless, device="cpu")
    config = json.loads((letters / "config.json").read_text())
    (letters / "config.json").write_text(json.dumps(config | {"model_type": "whisper"}))
    with pytest.raises(UserError, match="a whisper model, none of data2vec-audio, hubert"):
        CtcDecoder(letters, device="cpu")


def _with_units(folder: Path, units: list[str], **special: str) -> Path:
    """A tiny random model of ten outputs, any of which may be the best."""
    model = _model("layer", len(LETTERS))
    with torch.no_grad():
        model.lm_head.bias[1:4] = 0
    _save(folder, model)
    (folder / "vocab.json").write_text(json.dumps({unit: i for i, unit in enumerate(units)}))
    if special:
        (folder / "tokenizer_config.json").write_text(json.dumps(special))
    return folder


def test_special_units_are_no_text(tmp_path: Path) -> None:
    decoder = CtcDecoder(_with_units(tmp_path, LETTERS), device="cpu")
    waveforms = _waveforms()
    paths = [path for waveform in waveforms for path in decoder._paths([waveform])]
    assert {1, 2, 3} & {unit for path in paths for unit in path}
    read = [hypothesis.text for hypothesis in decoder.decode(waveforms, [CAP] * 5)]
    # Runs are counted before anything is left out: a letter on both sides of <unk> stands twice.
    spelt = [
        "".join(LETTERS[unit] for unit in collapse(path, blank=0) if unit > 3) for path in paths
    ]
    assert read == [" ".join(text.replace("|", " ").split()) for text in spelt]


def test_units_that_do_not_fit_the_head_are_refused(tmp_path: Path) -> None:
    for number, units in enumerate((LETTERS[:7], [*LETTERS, *"XYZ"])):
        with pytest.raises(UserError, match=rf"vocab\.json: {len(units)} units for 10 outputs"):
            CtcDecoder(_with_units(tmp_path / str(number), units), device="cpu")
    with pytest.raises(UserError, match=r"padding <pad> is unit 9, the blank 0"):
        CtcDecoder(_with_units(tmp_path / "turned", LETTERS[::-1]), device="cpu")
    renamed = ["[PAD]", "[UNK]", *LETTERS[4:], "B", "C"]
    with pytest.raises(UserError, match=r"padding <pad> is unit 1\d, the blank 0"):
        CtcDecoder(_with_units(tmp_path / "untold", renamed), device="cpu")
    told = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    CtcDecoder(_with_units(tmp_path / "told", renamed, **told), device="cpu")


@pytest.mark.parametrize("outputs", [8, 10])
def test_a_head_may_leave_out_what_its_tokenizer_adds(tmp_path: Path, outputs: int) -> None:
    """As of recipes that count a vocabulary without or with <s> and </s>."""
    _save(tmp_path, _model("layer", outputs))
    vocabulary = ["<pad>", "<unk>", *LETTERS[4:]]
    (tmp_path / "vocab.json").write_text(json.dumps({u: i for i, u in enumerate(vocabulary)}))
    decoder = CtcDecoder(tmp_path, device="cpu")
    assert len(decoder._units._tokenizer) == 10
    assert decoder.decode(_waveforms(), [CAP] * 5)[0].text


def test_what_a_processor_saves_is_read(letters: Path) -> None:
    before = CtcDecoder(letters, device="cpu").decode(_waveforms(), [CAP] * 5)
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(letters)
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(letters)
    (letters / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"neither processor_config\.json nor preprocessor_config"):
        CtcDecoder(letters, device="cpu")
    Wav2Vec2Processor(extractor, tokenizer).save_pretrained(letters)
    assert not (letters / "preprocessor_config.json").exists()
    assert CtcDecoder(letters, device="cpu").decode(_waveforms(), [CAP] * 5) == before
    (letters / "processor_config.json").write_text("{")
    with pytest.raises(UserError, match=r"processor_config\.json is not usable"):
        CtcDecoder(letters, device="cpu")


def test_broken_weights_are_one_line(letters: Path) -> None:
    (letters / "model.safetensors").write_bytes(b"\x08")
    with pytest.raises(UserError, match="can't be loaded") as caught:
        CtcDecoder(letters, device="cpu")
    assert "\n" not in str(caught.value)


def test_another_rate_is_refused(letters: Path) -> None:
    Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(letters)
    with pytest.raises(UserError, match="it hears 8000 Hz"):
        CtcDecoder(letters, device="cpu")


@pytest.mark.parametrize("device", ["tpu", "cuda:99"])
def test_devices_are_checked(letters: Path, device: str) -> None:
    with pytest.raises(UserError, match=f"device '{device}' can't be used"):
        CtcDecoder(letters, device=device)


def test_from_yaml(letters: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"{{name: mine, family: wav2vec2, weights: w, kind: ctc, model: {letters}}}")
    recogniser = load_recogniser(file)
    (read,) = recogniser.transcribe(_waveforms()[:1])
    assert read.text
    other = load_recogniser(file, overrides=["guard.max_repeats=2"])
    assert recogniser.identity != other.identity
