"""The table of encoders: rows, models that aren't at hand, and the page it is put in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, Wav2Vec2Config, Wav2Vec2Model

from sepasr.bin.main import main
from sepasr.encoder.base import EncoderConfig, build_encoder
from sepasr.encoder.published import PUBLISHED, Architecture
from sepasr.errors import UserError
from sepasr.separator.model import Separator, SeparatorConfig
from sepasr.study.encoders import (
    BEGIN,
    END,
    HEADER,
    LABELS,
    Trial,
    frames_per_second,
    layer_text,
    markdown_table,
    relative_cost,
    replace_table,
    short_cause,
    try_encoder,
)

SHAPE = {
    "channels": 8,
    "kernel": 32,
    "stride": 16,
    "width": 8,
    "hidden": 8,
    "heads": 2,
    "layers": 1,
}
TINY = Architecture("wav2vec2", 16, 3, 2, 32)


@pytest.fixture
def trial() -> Trial:
    return Trial(Separator(SeparatorConfig(**SHAPE)), batch=2, seconds=0.2, repeats=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    return folder


def conf(model: Path | str, **changes: object) -> EncoderConfig:
    base = EncoderConfig(
        name="tiny",
        family="wav2vec2",
        weights="tiny",
        source="huggingface",
        model=str(model),
        layer="last",
        distance="mse",
        level="model",
        fs=16000,
    )
    return replace(base, **changes)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_a_row_says_what_the_encoder_is_and_costs(model: Path, trial: Trial) -> None:
    row = try_encoder(conf(model), trial)
    whole = count(Wav2Vec2Model.from_pretrained(model, mask_time_prob=0.0))
    assert (row.weights, row.frames_per_second, row.parameters) == ("its own", 50, whole)
    assert row.cost > 0
    assert row.cause is None


def test_layers_that_the_loss_does_not_run_are_not_counted(model: Path, trial: Trial) -> None:
    all_of_it, part = (try_encoder(conf(model, layer=k), trial).parameters for k in (3, 1))
    layer = Wav2Vec2Model.from_pretrained(model).encoder.layers[0]
    assert all_of_it - part == 2 * count(layer)


def test_the_cost_is_the_median_of_ratios_measured_in_turn(
    model: Path, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that slows down for a while slows both, and one ratio out of three at most."""
    times = iter([3.0, 1.0, 60.0, 20.0, 90.0, 2.0])  # loss, own; loss, own; disturbed

    def seconds(step: object) -> float:
        step()
        return next(times)

    monkeypatch.setattr("sepasr.study.encoders._seconds", seconds)
    encoder = build_encoder(conf(model))
    assert relative_cost(encoder, replace(trial, repeats=3)) == 3.0


def test_the_measured_steps_leave_no_gradient_behind(model: Path, trial: Trial) -> None:
    relative_cost(build_encoder(conf(model)), trial)
    assert all(parameter.grad is None for parameter in trial.separator.parameters())


def test_an_absent_model_is_a_row_with_the_cause(tmp_path: Path, trial: Trial) -> None:
    row = try_encoder(conf(tmp_path / "nowhere"), trial)
    assert (row.weights, row.frames_per_second, row.parameters, row.cost) == (None,) * 4
    table = markdown_table([row])
    assert "| tiny | wav2vec2 | last | not at hand | – | – | – | – |" in table
    assert f"- tiny: {tmp_path / 'nowhere'}: no such model" in table


def test_an_encoder_that_cannot_take_the_trial_is_a_row_with_the_cause(
    model: Path, trial: Trial
) -> None:
    row = try_encoder(conf(model), replace(trial, seconds=0.01))
    assert (row.weights, row.frames_per_second, row.cost) == ("its own", 50, None)
    other = try_encoder(conf(model, name="other"), trial)
    table = markdown_table([row, other])
    assert row.cause in table
    assert "Cost not measured:\n\n- tiny: " in table
    assert "Not at hand" not in table
    assert "| – | yes |" in table.splitlines()[2]


def test_a_hub_out_of_reach_is_told_in_a_few_words() -> None:
    hub = "asapp/model: cannot be had from the hub: No: outgoing traffic has been disabled."
    assert short_cause(hub) == "asapp/model: cannot be had from the hub: no network"
    assert short_cause("tiny: no such model: see it") == "tiny: no such model: see it"


def test_random_weights_take_its_place_only_when_asked_and_are_named(
    tmp_path: Path, trial: Trial
) -> None:
    absent = conf(tmp_path / "nowhere", name="published")
    published = {absent.model: TINY}
    assert try_encoder(absent, trial, published=published).weights is None
    row = try_encoder(absent, trial, random=True, published=published)
    assert (row.weights, row.frames_per_second) == ("random", 50)
    assert row.conf == absent
    assert "Random weights: the model was not at hand" in markdown_table([row])
    wrong = try_encoder(replace(absent, family="hubert"), trial, random=True, published=published)
    assert "family" in wrong.cause


def test_a_model_at_hand_is_never_replaced(model: Path, trial: Trial) -> None:
    found = conf(model)
    row = try_encoder(found, trial, random=True, published={found.model: TINY})
    assert row.weights == "its own"
    assert "Random" not in markdown_table([row])


def test_rows_have_a_cell_for_every_column(model: Path, trial: Trial) -> None:
    rows = [try_encoder(conf(model, layer=layer), trial) for layer in ([0, 2], {1: 0.5, 2: 0.5})]
    lines = markdown_table(rows).splitlines()
    assert {line.count("|") for line in lines} == {len(HEADER) + 1}
    assert lines[1].count("---:") == len(HEADER) - LABELS
    assert " 0, 2 " in lines[2]
    assert " 0.5 x 1 + 0.5 x 2 " in lines[3]
    assert layer_text("last") == "last"


def test_frames_per_second_of_whisper_are_those_of_its_hop() -> None:
    class Held:
        fs = 16000

        class model:
            @staticmethod
            def frame_lengths(lengths: torch.Tensor) -> torch.Tensor:
                return (lengths // 160 + 1) // 2

    assert frames_per_second(Held()) == 50


def test_the_table_is_replaced_and_the_rest_of_the_page_kept(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{BEGIN}\nold\nrows\n{END}\n\nThe rest: é.\n", encoding="utf-8")
    for text in ("| new |\n", "| newer |"):
        replace_table(page, text)
        expected = f"# Title\n\n{BEGIN}\n\n{text.strip()}\n\n{END}\n\nThe rest: é.\n"
        assert page.read_text(encoding="utf-8") == expected


@pytest.mark.parametrize("text", ["none", f"{END}\n{BEGIN}\n", f"{BEGIN}\n", f"{BEGIN}{END}" * 2])
def test_a_page_without_a_place_for_it_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="no place for the table"):
        replace_table(page, "| new |")
    assert page.read_text(encoding="utf-8") == text
    with pytest.raises(UserError, match="no such page"):
        replace_table(tmp_path / "absent.md", "| new |")


def test_the_command_writes_the_page(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fields = vars(conf(model))
    lines = (f"{name}: {value}" for name, value in fields.items() if value is not None)
    (tmp_path / "mine.yaml").write_text("\n".join(lines), encoding="utf-8")
    shape = "\n".join(f"{name}: {value}" for name, value in SHAPE.items())
    (tmp_path / "small.yaml").write_text(shape, encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\n{END}\nbelow\n", encoding="utf-8")
    options = [f"{tmp_path}/mine.yaml", "--separator", f"{tmp_path}/small.yaml", "--batch", "1"]
    options += ["--seconds", "0.2", "--repeats", "1", "--markdown", str(page)]
    assert main(["encoders", *options]) == 0
    written = page.read_text(encoding="utf-8")
    assert written.startswith("above\n")
    assert written.endswith("below\n")
    assert "| tiny | wav2vec2 | last | its own | 50 |" in written
    assert "--seconds 0.2 --repeats 1`" in written
    assert f"torch {torch.__version__}" in written


def test_a_mistake_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sepasr.study.encoders.try_encoder", lambda *_, **__: pytest.fail("tried"))
    assert main(["encoders", "--markdown", str(tmp_path / "absent.md")]) == 2
    assert main(["encoders", "nothing"]) == 2
    assert main(["encoders", "--separator", "nothing"]) == 2
    assert main(["encoders", "--batch", "0"]) == 2
    assert "absent.md: no such page" in capsys.readouterr().err


# As their papers or model cards give them; those of SUPERB's table count parts of pretraining too.
MILLIONS = {
    "facebook/wav2vec2-base": 95.04,
    "facebook/wav2vec2-large-lv60": 317.38,
    "facebook/hubert-base-ls960": 94.68,
    "facebook/hubert-large-ll60k": 316.61,
    "microsoft/wavlm-base-plus": 94.70,
    "microsoft/wavlm-large": 316.62,
    "facebook/w2v-bert-2.0": 580,
    "openai/whisper-tiny": 39,
    "openai/whisper-base": 74,
    "openai/whisper-small": 244,
    "openai/whisper-medium": 769,
    "openai/whisper-large-v3": 1550,
}


@pytest.mark.parametrize("name", MILLIONS)
def test_published_shapes_have_the_published_number_of_parameters(name: str) -> None:
    config = PUBLISHED[name].config()
    if PUBLISHED[name].kind == "whisper":  # whose figure counts the decoder, of the same shape
        config.decoder_layers = config.encoder_layers
        config.decoder_attention_heads = config.encoder_attention_heads
        config.decoder_ffn_dim = config.encoder_ffn_dim
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    assert count(model) / 1e6 == pytest.approx(MILLIONS[name], rel=0.01, abs=1.5)


def test_random_weights_are_the_same_every_time_and_draw_nothing_from_others() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = (TINY.random_model().state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_whisper_is_made_without_its_decoder() -> None:
    with torch.device("meta"):
        model = PUBLISHED["openai/whisper-tiny"].random_model()
    assert type(model).__name__ == "WhisperEncoder"
    assert not any("decoder" in name for name, _ in model.named_parameters())
