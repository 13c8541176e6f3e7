from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
)

from sepasr.decode.recogniser import load_recogniser
from sepasr.decode.recognisers.ctc import CtcDecoder, collapse
from sepasr.errors import UserError

FS = 16000
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", *"ET|AON"]
CAP = 10_000


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
    with pytest.raises(UserError, match="a whisper model, none of hubert"):
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
