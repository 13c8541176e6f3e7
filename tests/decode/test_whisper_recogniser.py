from __future__ import annotations

import ctypes
import json
import shutil
import site
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import torch
from natural_voice import say
from tiny_whisper import tiny_whisper

from sepasr.decode.hearing import to_level
from sepasr.decode.recogniser import Recogniser, load_recogniser
from sepasr.decode.recognisers.whisper import WhisperDecoder, WhisperTokens
from sepasr.decode.recognisers.whisper_encoder import TYPES, TorchWhisperEncoder, chosen_type
from sepasr.decode.recognisers.whisper_transformers import TransformersWhisperDecoder
from sepasr.errors import UserError
from sepasr.models import packaged_model

FS = 16000
TEXTS = [
    "The boy was there when the sun rose.",
    "Rice is often served in round bowls.",
    "A pot of tea helps to pass the evening.",
]
CAP = 200


@pytest.fixture(scope="module")
def spoken() -> list[np.ndarray]:
    """Three sentences, clean, at the level at which recognisers hear."""
    return say(TEXTS, seed=3)


@pytest.fixture(scope="module")
def noisy(spoken: list[np.ndarray]) -> list[np.ndarray]:
    """The same with another one behind, 9 dB lower."""
    pairs = zip(spoken, spoken[1:] + spoken[:1], strict=True)
    return [
        to_level(front + 10 ** (-9 / 20) * np.resize(back, len(front))) for front, back in pairs
    ]


@pytest.fixture(scope="module")
def tiny() -> WhisperDecoder:
    return _whisper(packaged_model("whisper-tiny.en"), compute_type="int8")


def _whisper(
    folder: Path,
    compute_type: str,
    language: str = "en",
    encoder_type: str | None = None,
    beam: int = 1,
) -> WhisperDecoder:
    # Two workers, so that a batch is dealt out.
    return WhisperDecoder(
        folder,
        language=language,
        beam=beam,
        compute_type=compute_type,
        encoder_type=encoder_type,
        device="cpu",
        threads=2,
        streams=4,
    )


@pytest.mark.parametrize("samples", [1600, 12345, 479_000])
def test_features_are_those_of_transformers(tiny: WhisperDecoder, samples: int) -> None:
    from transformers import WhisperFeatureExtractor

    noise = 0.1 * np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    expected = WhisperFeatureExtractor()(noise, sampling_rate=FS, return_tensors="np")
    features = tiny.features(noise)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected.input_features[0], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whisper-tiny.en", "whisper-base"])
def test_reads_what_faster_whisper_reads(
    name: str, spoken: list[np.ndarray], noisy: list[np.ndarray]
) -> None:
    from faster_whisper import WhisperModel

    folder = packaged_model(name)
    reference = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
    streams = [*spoken[:1], *noisy]
    read = _whisper(folder, "int8").decode(streams, [CAP] * len(streams))
    for stream, hypothesis in zip(streams, read, strict=True):
        # Silence up to 30 s, as Whisper was trained, where faster-whisper pads the spectrogram.
        padded = np.pad(stream, (0, 30 * FS - len(stream)))
        segments, _ = reference.transcribe(
            padded,
            language="en",
            beam_size=1,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
            no_speech_threshold=None,
            log_prob_threshold=None,
            compression_ratio_threshold=None,
        )
        segments = list(segments)
        assert hypothesis.text == " ".join("".join(s.text for s in segments).split())
    assert read[0].text == TEXTS[0]


@pytest.mark.slow
def test_does_not_depend_on_the_batch(
    tiny: WhisperDecoder, spoken: list[np.ndarray], noisy: list[np.ndarray]
) -> None:
    streams = [*noisy, *spoken[:1]]
    caps = [CAP, 5, CAP, 2]
    together = tiny.decode(streams, caps)
    alone = [tiny.decode([s], [cap])[0] for s, cap in zip(streams, caps, strict=True)]
    assert together == alone
    assert [hypothesis.cut for hypothesis in together] == [cap < CAP for cap in caps]
    assert together[3].tokens == 2


@pytest.mark.slow
def test_text_that_just_fits_is_not_cut(tiny: WhisperDecoder, spoken: list[np.ndarray]) -> None:
    (free,) = tiny.decode(spoken[:1], [CAP])
    fits, cut = tiny.decode(spoken[:1] * 2, [free.tokens, free.tokens - 1])
    assert fits == free
    assert cut.cut
    assert free.text.startswith(cut.text)


@pytest.mark.slow
def test_long_streams_are_read_in_windows(spoken: list[np.ndarray]) -> None:
    recogniser = load_recogniser("whisper_tiny_en")
    pause = np.zeros(FS, dtype=np.float32)
    sentences = [*spoken, *spoken, *spoken, *spoken]
    stream = np.concatenate([part for sentence in sentences for part in (sentence, pause)])
    assert 30 * FS < len(stream) < 60 * FS
    (read,) = recogniser.transcribe([stream])
    words = [word.strip(".,").lower() for word in read.text.split()]
    assert words == [word.strip(".").lower() for text in TEXTS * 4 for word in text.split()]
    assert read.guard == ()


@pytest.mark.slow
@pytest.mark.parametrize("multilingual", [False, True])
def test_both_engines_read_the_same(
    tmp_path: Path, noisy: list[np.ndarray], multilingual: bool
) -> None:
    from ctranslate2.converters import TransformersConverter

    folder = tiny_whisper(tmp_path / "transformers", multilingual)
    converter = TransformersConverter(str(folder), copy_files=["tokenizer.json"])
    converted = Path(converter.convert(str(tmp_path / "ctranslate2")))
    language = "de" if multilingual else "en"
    streams, caps = [*noisy, noisy[0][::-1].copy()], [5, 30, 20, 10]
    engine = _whisper(converted, "float32", language)
    reference = TransformersWhisperDecoder(folder, language=language, beam=1, device="cpu")
    read = reference.decode(streams, caps)
    assert engine.decode(streams, caps) == read
    on_torch = _whisper(converted, "float32", language, "float32")
    assert on_torch.decode(streams, caps) == read
    assert on_torch.identity != engine.identity
    assert len({hypothesis.text for hypothesis in read}) == len(streams)
    assert engine.identity["language"] == reference.identity["language"]
    assert engine.identity["model"] != reference.identity["model"]


@pytest.mark.slow
@pytest.mark.parametrize("beam", [1, 4])
def test_a_beam_does_not_depend_on_the_batch(
    tmp_path: Path, noisy: list[np.ndarray], beam: int
) -> None:
    from ctranslate2.converters import TransformersConverter

    folder = tiny_whisper(tmp_path / "transformers", multilingual=False)
    converter = TransformersConverter(str(folder), copy_files=["tokenizer.json"])
    converted = Path(converter.convert(str(tmp_path / "ctranslate2")))
    decoders = (
        _whisper(converted, "float32", beam=beam),
        TransformersWhisperDecoder(folder, language="en", beam=beam, device="cpu"),
    )
    for decoder in decoders:
        together = decoder.decode([*noisy, noisy[0]], [3, 5, 7, 60])
        alone = [decoder.decode([s], [c])[0] for s, c in zip(noisy, [3, 5, 7], strict=True)]
        assert together[:3] == alone
        assert [hypothesis.tokens for hypothesis in alone] == [3, 5, 7]
        assert all(hypothesis.cut for hypothesis in alone)


@pytest.mark.slow
def test_large_v3_has_more_mel_bins(tmp_path: Path, noisy: list[np.ndarray]) -> None:
    """As large-v3 and its turbo, whose vocabularies need no more than their own files."""
    from ctranslate2.converters import TransformersConverter

    folder = tiny_whisper(tmp_path / "transformers", multilingual=True, num_mel_bins=128)
    reference = TransformersWhisperDecoder(folder, language="en", beam=1, device="cpu")
    converter = TransformersConverter(str(folder), copy_files=["tokenizer.json"])
    engine = _whisper(Path(converter.convert(str(tmp_path / "ctranslate2"))), "float32")
    assert engine.features(noisy[0]).shape == (128, 3000)
    read = reference.decode(noisy, [20] * len(noisy))
    assert engine.decode(noisy, [20] * len(noisy)) == read
    assert len({hypothesis.text for hypothesis in read}) == len(noisy)


@pytest.mark.slow
def test_an_encoder_in_bfloat16_reads_streams_one_by_one(
    spoken: list[np.ndarray], noisy: list[np.ndarray]
) -> None:
    decoder = _whisper(packaged_model("whisper-tiny.en"), "int8", encoder_type="bfloat16")
    streams = [*spoken, *noisy]
    together = decoder.decode(streams, [CAP] * len(streams))
    assert [hypothesis.text for hypothesis in together[: len(TEXTS)]] == TEXTS
    alone = [decoder.decode([stream], [CAP])[0] for stream in streams]
    assert together == alone


def test_states_in_bfloat16_are_those_of_float32_to_rounding(spoken: list[np.ndarray]) -> None:
    folder = packaged_model("whisper-tiny.en")
    features = _whisper(folder, "int8").features(spoken[0])
    full, half = (TorchWhisperEncoder(folder, name, threads=1)(features) for name in TYPES)
    assert full.shape == (1, 1500, 384)
    assert full.dtype == half.dtype == np.float32
    error = np.linalg.norm(half - full) / np.linalg.norm(full)
    assert 1e-4 < error < 0.03  # bfloat16 has 8 bits


@pytest.mark.parametrize(
    ("able", "device", "expected"),
    [
        ({"amx_bf16": True}, "cpu", "bfloat16"),
        ({"avx512_bf16": True}, "cpu", None),
        ({"avx2": True}, "cpu", None),
        ({"amx_bf16": True}, "cuda", None),
    ],
)
def test_auto_is_bfloat16_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], device: str, expected: str | None
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert chosen_type("auto", device) == expected
    assert chosen_type(None, device) is None


@pytest.mark.slow
def test_quantised_weights_are_left_to_ctranslate2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noisy: list[np.ndarray]
) -> None:
    from ctranslate2.converters import TransformersConverter

    folder = tiny_whisper(tmp_path / "transformers", multilingual=False)
    converter = TransformersConverter(str(folder), copy_files=["tokenizer.json"])
    converted = Path(converter.convert(str(tmp_path / "int8"), quantization="int8"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    auto, none = (_whisper(converted, "int8", encoder_type=asked) for asked in ("auto", None))
    assert auto.identity == none.identity
    assert auto.decode(noisy, [20] * 3) == none.decode(noisy, [20] * 3)
    with pytest.raises(UserError, match="encoder_type float32 can't be had of quantised weights"):
        _whisper(converted, "int8", encoder_type="float32")


def test_encoder_types_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"unknown encoder_type 'float8' .*bfloat16, null"):
        load_recogniser("whisper_tiny_en", overrides=["encoder_type=float8"])
    with pytest.raises(UserError, match="for a CPU, not for cuda"):
        chosen_type("bfloat16", "cuda")


def test_states_that_are_not_finite_are_not_read() -> None:
    encoder = TorchWhisperEncoder(packaged_model("whisper-tiny.en"), "bfloat16", threads=1)
    with pytest.raises(UserError, match=r"not finite .*encoder_type: float32"):
        encoder(np.full((80, 3000), np.nan, dtype=np.float32))


def test_wrong_folders_are_one_line(tmp_path: Path, tiny: WhisperDecoder) -> None:
    source = packaged_model("whisper-tiny.en")
    with pytest.raises(UserError, match=r"no generation_config.json .*kind whisper"):
        TransformersWhisperDecoder(source, language="en", beam=1, device="cpu")
    for file in ("config.json", "tokenizer.json", "vocabulary.txt"):
        shutil.copy(source / file, tmp_path)
    with pytest.raises(UserError, match=r"no model.bin .*whisper_transformers"):
        _whisper(tmp_path, "int8")
    (tmp_path / "model.bin").write_bytes(b"\0" * 1000)
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        _whisper(tmp_path, "int8")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("device=mps", r"device 'mps' can't be used: CTranslate2 runs on cpu, cuda, cuda:1"),
        ("device=cuda:x", r"device 'cuda:x' can't be used: CTranslate2 runs on cpu, cuda"),
        ("device=cuda", r"device 'cuda' can't be used: CTranslate2 finds 0 GPUs .*use cpu"),
        ("device=cuda:1", r"device 'cuda:1' can't be used: CTranslate2 finds 0 GPUs"),
        ("compute_type=float16", r"compute_type 'float16' can't be had on cpu .*int8"),
        (
            "compute_type=int3",
            r"compute_type 'int3' can't be had on cpu .there are float32, int8",
        ),
    ],
)
def test_what_ctranslate2_cannot_run_is_said(
    monkeypatch: pytest.MonkeyPatch, setting: str, message: str
) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda *_: {"int8", "float32"})
    with pytest.raises(UserError, match=message) as caught:
        load_recogniser("whisper_tiny_en", overrides=[setting])
    assert "model.bin" not in str(caught.value)


def test_any_compute_type_is_one_of_the_device_s() -> None:
    types = ctranslate2.get_supported_compute_types("cpu")
    decoder = _whisper(packaged_model("whisper-tiny.en"), "auto")
    assert decoder.identity["compute_type"] in types


@pytest.mark.parametrize(("asked", "kind", "number"), [("cuda:1", "cuda", 1), ("cuda", "cuda", 0)])
def test_it_reads_on_the_device_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: str, kind: str, number: int
) -> None:
    given = {}

    def absent(_folder: str, **settings: object) -> None:
        given.update(settings)
        raise RuntimeError("no such device")

    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 2)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda *_: {"int8"})
    monkeypatch.setattr(ctranslate2.models, "Whisper", absent)
    loaded = []
    monkeypatch.setattr(ctypes, "CDLL", loaded.append)
    with pytest.raises(UserError, match="no such device"):
        load_recogniser("whisper_tiny_en", device=asked)
    assert (given["device"], given["device_index"]) == (kind, number)
    assert loaded == ["libcublas.so.12"]


def test_a_gpu_without_the_library_of_its_products_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried = []

    def absent(library: str) -> None:
        tried.append(library)
        raise OSError(f"{library}: cannot open shared object file")

    library = tmp_path / "nvidia/cublas/lib/libcublas.so.12"
    library.parent.mkdir(parents=True)
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(ctypes, "CDLL", absent)
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path)])
    for names in (["libcublas.so.12"], ["libcublas.so.12", str(library)]):
        tried.clear()
        with pytest.raises(UserError, match=r"CUDA 12: .*cannot open.*install.sh --torch cuda"):
            load_recogniser("whisper_tiny_en", device="cuda")
        assert tried == names
        library.touch()


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(UserError, match=r"no token <\|xx\|> in its vocabulary"):
        _whisper(packaged_model("whisper-base"), "int8", language="xx")


def test_an_english_model_hears_no_other_language(tmp_path: Path) -> None:
    message = r"an English-only model for language de .take a multilingual one"
    with pytest.raises(UserError, match=message):
        load_recogniser("whisper_tiny_en", overrides=["language=de"])
    folder = tiny_whisper(tmp_path, multilingual=False)
    with pytest.raises(UserError, match=message):
        TransformersWhisperDecoder(folder, language="de", beam=1, device="cpu")


@pytest.mark.parametrize("version", ["old", "new"])
@pytest.mark.parametrize("name", ["whisper-tiny.en", "whisper-base"])
def test_what_a_slow_tokenizer_saves_is_read(tmp_path: Path, name: str, version: str) -> None:
    """As transformers has saved it before and since 4.34: special tokens are in other files."""
    source = packaged_model(name)
    whole = json.loads((source / "tokenizer.json").read_text())
    vocabulary, added = whole["model"]["vocab"], whole["added_tokens"]
    pairs = (p if isinstance(p, str) else " ".join(p) for p in whole["model"]["merges"])
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs]) + "\n")
    saved = {"vocab.json": vocabulary, "tokenizer_config.json": {}}
    if version == "old":
        new = {t["content"]: t["id"] for t in added if t["content"] not in vocabulary}
        saved["added_tokens.json"] = new
        saved["special_tokens_map.json"] = {"additional_special_tokens": list(new)}
    else:
        told = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in added}
        saved["tokenizer_config.json"] = {"added_tokens_decoder": told}
    for file, content in saved.items():
        (tmp_path / file).write_text(json.dumps(content))
    slow, fast = WhisperTokens(tmp_path), WhisperTokens(source)
    language = None if name.endswith(".en") else "de"
    assert slow.prompt(language) == fast.prompt(language)
    ids = range(max(t["id"] for t in added) + 1)
    assert [slow.hypothesis([i], 1) for i in ids] == [fast.hypothesis([i], 1) for i in ids]
    text = np.random.default_rng(0).integers(0, 50_000, 300).tolist()
    assert slow.hypothesis(text, 300) == fast.hypothesis(text, 300)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(UserError, match=r"no tokenizer\.json .*vocab\.json and merges\.txt"):
        WhisperTokens(tmp_path)


def test_the_yaml_decides(tiny: WhisperDecoder) -> None:
    recogniser = load_recogniser("whisper_tiny_en")
    assert isinstance(recogniser, Recogniser)
    assert (recogniser.name, recogniser.family) == ("whisper_tiny_en", "whisper")
    assert recogniser.weights == "whisper-tiny.en"
    other = load_recogniser("whisper_tiny_en", overrides=["beam=2"])
    assert other.identity != recogniser.identity
