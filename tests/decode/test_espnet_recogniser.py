from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
import yaml
from espnet_zoo import LM, packed, weights_file, write_asr

from sepasr.decode.recogniser import RecogniserConfig, load_recogniser
from sepasr.decode.recognisers.espnet import EspnetDecoder, build_decoder
from sepasr.errors import UserError
from sepasr.foreign import EspnetModel, espnet_built, espnet_import

CAP = 10_000
pytestmark = pytest.mark.slow  # importing ESPnet's tasks alone takes ten seconds


def waveforms(seed: int = 0) -> list[np.ndarray]:
    """Tones of a tenth of a second each in a little noise."""
    rng = np.random.default_rng(seed)
    made = []
    for samples in (16000, 7123, 24000):
        hertz = np.repeat(rng.uniform(100, 7000, samples // 1600 + 1), 1600)[:samples]
        tones = 0.1 * np.sin(2 * np.pi * np.cumsum(hertz) / 16000)
        made.append((tones + 0.001 * rng.standard_normal(samples)).astype(np.float32))
    return made


def config(folder: Path, **changes: Any) -> RecogniserConfig:
    base = {"name": "tiny", "family": "conformer", "weights": "tiny", "kind": "espnet"}
    return RecogniserConfig(**base, **({"model": str(folder), "beam": 2} | changes))


def decoder(folder: Path, **changes: Any) -> EspnetDecoder:
    return build_decoder(config(folder, **changes), "hub")


def written(folder: Path, **changes: Any) -> Path:
    """A model that reads something of its own in every waveform."""
    write_asr(folder, lm=True, **changes)
    weights = torch.load(weights_file(folder))
    generator = torch.Generator().manual_seed(3)
    for name, value in weights.items():
        if name.startswith(("ctc.ctc_lo.", "decoder.output_layer.", "joint_network.lin_out.")):
            weights[name] = 4 * torch.randn(value.shape, generator=generator)
            if name.endswith("bias"):
                weights[name][1] = weights[name][-1] = -1000  # never <unk>
            if name == "joint_network.lin_out.bias":
                weights[name][0] = 0
    torch.save(weights, weights_file(folder))
    return folder


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CTC and an attention decoder over characters, and a language model."""
    return written(tmp_path_factory.mktemp("espnet") / "joint")


def espnet_reads(folder: Path, **options: Any) -> list[str]:
    """What ESPnet's own class reads, from a configuration with absolute paths."""
    settings = EspnetModel.find(folder).settings
    file = folder / "absolute.yaml"
    file.write_text(yaml.safe_dump(settings))
    cls = espnet_import("espnet2.bin.asr_inference").Speech2Text
    speech2text = espnet_built(lambda: cls(str(file), str(weights_file(folder)), **options), file)
    texts = (speech2text(waveform)[0][0] for waveform in waveforms())
    return [" ".join(text.replace("<unk>", "").split()) for text in texts]


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({"ctc_weight": 0.3}, {"ctc_weight": 0.3, "beam_size": 2}),
        ({"ctc_weight": 1.0, "beam": 3}, {"ctc_weight": 1.0, "beam_size": 3}),
        (
            {"ctc_weight": 0.3, "length_bonus": 2.0},
            {"ctc_weight": 0.3, "beam_size": 2, "penalty": 2.0},
        ),
        (
            {"ctc_weight": 0.3, "lm_weight": 30.0},
            {"ctc_weight": 0.3, "beam_size": 2, "lm_weight": 30.0, "lm": True},
        ),
    ],
)
def test_reads_what_speech2text_reads(joint: Path, options: dict, theirs: dict) -> None:
    if theirs.pop("lm", False):
        theirs["lm_train_config"] = str(joint / LM / "config.yaml")
        theirs["lm_file"] = str(joint / LM / "valid.acc.ave.pth")
    expected = espnet_reads(joint, **theirs)
    read = decoder(joint, **options).decode(waveforms(), [CAP] * 3)
    assert [hypothesis.text for hypothesis in read] == expected
    assert len(set(expected)) > 1
    assert any(" " in text for text in expected)


def test_settings_change_what_is_read_and_the_identity(joint: Path) -> None:
    plain = decoder(joint)
    for changes in (
        {"ctc_weight": 1.0},
        {"lm_weight": 30.0},
        {"length_bonus": 5.0},
        {"beam": 4},
    ):
        other = decoder(joint, **changes)
        assert other.identity != plain.identity
    assert other.identity["model"] == plain.identity["model"]
    assert decoder(joint, lm_weight=30.0).decode(waveforms(), [CAP] * 3) != plain.decode(
        waveforms(), [CAP] * 3
    )


def test_each_waveform_by_itself_and_capped_by_its_own_cap(joint: Path) -> None:
    reader = decoder(joint)
    together = reader.decode(waveforms(), [CAP] * 3)
    assert [reader.decode([w], [CAP])[0] for w in waveforms()] == together
    full = together[0]
    assert full.tokens > 3
    capped = reader.decode(waveforms()[:2], [3, CAP])
    assert capped[0].cut
    assert capped[0].tokens == 3
    assert full.text.replace(" ", "").startswith(capped[0].text.replace(" ", ""))
    assert capped[1] == together[1]
    assert not reader.decode(waveforms()[:1], [full.tokens])[0].cut


def test_too_short_for_the_model_is_silence(joint: Path) -> None:
    (read,) = decoder(joint).decode([waveforms()[0][:900]], [CAP])
    assert (read.text, read.tokens, read.cut) == ("", 0, False)


def test_special_tokens_are_no_words(joint: Path) -> None:
    reader = decoder(joint)
    tokens = ["A", "<unk>", "T", "<space>", "<NOISE>", "I", "<sos/eos>"]
    assert reader._text(tokens) == "AT I"


def test_a_zip_is_the_directory(joint: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    as_zip, as_folder = decoder(packed(joint, tmp_path / "joint.zip")), decoder(joint)
    assert as_zip.identity == as_folder.identity
    assert as_zip.decode(waveforms(), [CAP] * 3) == as_folder.decode(waveforms(), [CAP] * 3)


def test_sentencepiece_units_by_a_relative_path(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("see the sea\nhe sees the tea\nthe tea has set\n" * 5)
    prefix = tmp_path / "model" / "data" / "bpe"
    prefix.parent.mkdir(parents=True)
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(prefix), vocab_size=14, minloglevel=2
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
    units = [pieces.id_to_piece(i) for i in range(3, 14)]
    tokens = {"token_list": ["<blank>", "<unk>", *units, "<sos/eos>"]}
    bpe = {"token_type": "bpe", "bpemodel": "data/bpe.model"}
    folder = written(tmp_path / "model", **tokens, **bpe)
    read = decoder(folder).decode(waveforms(), [CAP] * 3)
    expected = [
        " ".join(text.split()) for text in espnet_reads(folder, ctc_weight=0.3, beam_size=2)
    ]
    assert [hypothesis.text for hypothesis in read] == expected
    assert len(set(expected)) > 1
    (folder / "data/bpe.model").unlink()
    with pytest.raises(UserError, match=r"its sentencepiece model .*data/bpe\.model"):
        decoder(folder)


def test_a_transducer(tmp_path: Path) -> None:
    transducer = {
        "decoder": "transducer",
        "decoder_conf": {"rnn_type": "lstm", "num_layers": 1, "hidden_size": 12},
        "joint_net_conf": {"joint_space_size": 12},
        "model_conf": {"ctc_weight": 0.3, "report_cer": False, "report_wer": False},
    }
    folder = written(tmp_path / "transducer", **transducer)
    read = decoder(folder).decode(waveforms(), [CAP] * 3)
    search = {"search_type": "tsd", "max_sym_exp": 3}
    expected = espnet_reads(folder, beam_size=2, transducer_conf=search)
    assert [hypothesis.text for hypothesis in read] == expected
    assert any(expected)
    with pytest.raises(UserError, match="only with a beam above 1"):
        decoder(folder, beam=1, lm_weight=1.0)


def test_a_score_that_the_model_lacks_is_refused(tmp_path: Path) -> None:
    ctc_only = {"decoder": None, "decoder_conf": {}, "model_conf": {"ctc_weight": 1.0}}
    folder = write_asr(tmp_path / "ctc", **ctc_only)
    with pytest.raises(UserError, match=r"no attention decoder .set ctc_weight: 1"):
        decoder(folder)
    assert decoder(folder, ctc_weight=1.0).decode(waveforms(), [CAP] * 3)
    folder = write_asr(tmp_path / "attention", model_conf={"ctc_weight": 0.0})
    with pytest.raises(UserError, match=r"no CTC .set ctc_weight: 0"):
        decoder(folder)


def test_weights_are_accounted_for_and_no_code_is_run(tmp_path: Path) -> None:
    folder = write_asr(tmp_path / "model", lm=True)
    for file in (weights_file(folder), folder / LM / "valid.acc.ave.pth"):
        weights = torch.load(file)
        name = next(reversed(weights))
        torch.save({n: value for n, value in weights.items() if n != name}, file)
        with pytest.raises(UserError, match=r"1 tensors differ"):
            decoder(folder, lm_weight=1.0)

        class Code:
            def __reduce__(self) -> tuple:
                return os.mkdir, (str(tmp_path / "trace"),)

        torch.save({**weights, "x": Code()}, file)
        with pytest.raises(UserError, match="no pickle is executed"):
            decoder(folder, lm_weight=1.0)
        assert not (tmp_path / "trace").exists()
        torch.save(weights, file)
    decoder(folder, lm_weight=1.0)


def test_what_it_cannot_use(joint: Path, tmp_path: Path) -> None:
    frontend = {"fs": "8k", "n_fft": 256, "hop_length": 80, "n_mels": 20}
    with pytest.raises(UserError, match="it hears 8000 Hz"):
        decoder(write_asr(tmp_path / "telephone", frontend_conf=frontend))
    with pytest.raises(UserError, match="its units are of type phn"):
        decoder(write_asr(tmp_path / "phones", token_type="phn"))
    with pytest.raises(UserError, match="lm without lm_weight"):
        decoder(joint, lm="egs/lm")
    with pytest.raises(UserError, match="device 'cuda:99' can't be used"):
        decoder(joint, device="cuda:99")
    with pytest.raises(UserError, match="no package carries"):
        build_decoder(config(Path("owner/model")), "package")


def test_from_yaml(joint: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"name: mine\nfamily: conformer\nweights: mine\nkind: espnet\nmodel: {joint}\nbeam: 2\n"
    )
    recogniser = load_recogniser(file)
    (heard,) = recogniser.transcribe(waveforms()[:1])
    assert heard.text
    with pytest.raises(UserError, match="'compute_type' is no setting of kind espnet"):
        load_recogniser(file, overrides=["compute_type=float16"])
