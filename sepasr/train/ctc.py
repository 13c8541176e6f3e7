"""Training of a small recogniser with a CTC head on single utterances, from nothing or further.

The result is a Hugging Face directory that recognises, and that can be the encoder of a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from sepasr.config import load_config
from sepasr.data.datadir import UtteranceDir, fingerprint
from sepasr.decode.recognisers.ctc import SentencePieceUnits
from sepasr.errors import UserError
from sepasr.files import atomic_path, sha256
from sepasr.train.checkpoint import steps_done
from sepasr.train.ctc_model import (
    PIECES,
    WEIGHTS,
    ModelConfig,
    load_weights,
    save_recogniser,
    train_pieces,
)
from sepasr.train.fit import FitConfig, TrainingModule, check, fit
from sepasr.train.material import Sources, check_rate, fingerprints
from sepasr.train.sums import Sums
from sepasr.train.utterances import (
    BLANK,
    FS,
    Collate,
    HearingConfig,
    TrainingUtterances,
    UtteranceBatch,
    WholeUtterances,
)
from sepasr.train.wav2vec2 import new_extractor, new_model
from sepasr.train.workdir import claimed

VALID_BATCH = 10


@dataclass(frozen=True)
class CtcConfig:
    """A training: see the classes of its parts.

    Attributes:
        intermediate_weight: weight of the same loss on the middle layer, through the same head
            (intermediate CTC, arXiv 2102.03216).
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    hearing: HearingConfig = field(default_factory=HearingConfig)
    intermediate_weight: float = 0.3
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        if self.fit.optimizer.layer_decay != 1:
            raise UserError("fit.optimizer.layer_decay is for separators", remedy="leave it at 1")


class CtcModule(TrainingModule):
    """Trains a CTC model.

    Args:
        model: starts from the weights it has.
        pieces: file of the sentencepiece model of its units.
        config: how to train.
    """

    def __init__(self, model: Any, pieces: Path, config: CtcConfig) -> None:
        super().__init__(config.fit)
        self.model = model
        self.pieces = pieces
        self.units = SentencePieceUnits(pieces, self.model.config.vocab_size)
        self.intermediate_weight = config.intermediate_weight
        self.middle = (self.model.config.num_hidden_layers + 1) // 2
        self._validation = Sums()
        self.references: list[str] = []
        self.hypotheses: list[str] = []

    def log_probabilities(self, batch: UtteranceBatch) -> tuple[Tensor, Tensor, Tensor]:
        """What the last and the middle layer say of each frame.

        Returns:
            Two tensors of (batch, frames, units), float32; frames of each utterance, (batch,).
        """
        told = self.model.wav2vec2(
            batch.waveforms, attention_mask=batch.mask, output_hidden_states=True
        )
        # Behind the norm that follows the last layer.
        middle = self.model.wav2vec2.encoder.layer_norm(told.hidden_states[self.middle])
        last, middle = (
            self.model.lm_head(self.model.dropout(hidden)).float().log_softmax(-1)
            for hidden in (told.last_hidden_state, middle)
        )
        frames = self.model._get_feat_extract_output_lengths(batch.mask.sum(1))
        return last, middle, frames

    def training_step(self, batch: UtteranceBatch, _: int) -> Tensor:
        """CTC loss per unit of the text."""
        last, middle, frames = self.log_probabilities(batch)
        loss = ctc_loss(last, frames, batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(frames))
        weight = self.intermediate_weight
        return (1 - weight) * loss + weight * ctc_loss(middle, frames, batch)

    def validation_step(self, batch: UtteranceBatch, _: int) -> None:
        """Read; what was read is counted when all is."""
        last, _middle, frames = self.log_probabilities(batch)
        units = batch.unit_lengths
        self._validation.add(loss=ctc_loss(last, frames, batch) * units.sum(), units=units)
        for path, valid in zip(last.argmax(-1).tolist(), frames.tolist(), strict=True):
            self.hypotheses.append(self.units.text(path[:valid]))
        self.references += batch.texts

    def on_validation_epoch_end(self) -> None:
        """CTC loss per unit, and word error rate of greedy reading, over all utterances."""
        import jiwer

        read = jiwer.process_words(self.references, self.hypotheses)
        errors = read.substitutions + read.deletions + read.insertions
        words = read.substitutions + read.deletions + read.hits
        counts = torch.tensor([errors, words], device=self.device)
        self._validation.add(errors=counts[0], words=counts[1])
        total = self._validation.take(self.trainer.strategy)
        self.log("valid/loss", total["loss"] / total["units"], sync_dist=True)
        self.log("valid/wer", total["errors"] / total["words"], prog_bar=True, sync_dist=True)
        self.references, self.hypotheses = [], []

    def export(self, directory: Path) -> None:
        """Write a Hugging Face directory: weights in float16, feature extractor, units."""
        save_recogniser(self.model, new_extractor(), self.pieces, directory)


def ctc_loss(log_probabilities: Tensor, frames: Tensor, batch: UtteranceBatch) -> Tensor:
    """Mean CTC loss per unit of the text; 0 for a text too long for its frames.

    Args:
        log_probabilities: (batch, frames, units), float32.
        frames: valid frames of each utterance, (batch,).
        batch: what is said.
    """
    total = functional.ctc_loss(
        log_probabilities.transpose(0, 1),
        batch.units,
        frames,
        batch.unit_lengths,
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )
    return total / batch.unit_lengths.sum()


def train_ctc(
    *,
    config_files: Sequence[Path],
    overrides: Sequence[str],
    sources: Sources,
    valid: Path,
    out: Path,
    overwrite: bool,
    init: Path | None = None,
) -> None:
    """Train a recogniser on clean, noisy and reverberant utterances.

    Args:
        config_files: YAML of :class:`CtcConfig`, the base first.
        overrides: ``name=value``.
        sources: what to train on.
        valid: clean utterances to validate on.
        out: checkpoints, logs and ``final/``, the trained recogniser.
        overwrite: take the place of a training with other inputs that is in ``out``.
        init: directory of such a recogniser to start from, with its units; None makes a new one.

    Raises:
        UserError: anything that does not fit, before the first step.
    """
    config = load_config(CtcConfig, config_files, overrides)
    directories = sources.load(FS)
    dev = UtteranceDir.load(valid)
    check_rate(dev, "speech", FS)
    torch.manual_seed(config.fit.seed)
    model = new_model(config.model)
    inputs: dict[str, Any] = {**asdict(config), "data": fingerprints(*directories)}
    defaults = asdict(CtcConfig())
    if config.fit.follows_validation:
        # A training from before this was recorded is taken to have had today's value.
        inputs["valid"] = defaults["valid"] = fingerprint(dev)
    if init is not None:
        load_weights(model, init)
        inputs["init"] = sha256(init / WEIGHTS)
        units = (init / PIECES).read_bytes()
    else:
        units = train_pieces([u.text for u in directories[0].utterances], config.model.pieces)
    check(config.fit, DataLoader(WholeUtterances(dev), batch_size=VALID_BATCH), out)
    with claimed(out, inputs, overwrite=overwrite, defaults=defaults):
        pieces = out / PIECES
        # With no step done, those there are left by an aborted training, maybe on other texts.
        if not steps_done(out) or not pieces.is_file():
            with atomic_path(pieces) as temporary:
                temporary.write_bytes(units)
        collate = Collate(pieces)
        of_fit = config.fit
        batches = of_fit.accumulation * of_fit.devices * of_fit.num_nodes
        fit(
            CtcModule(model, pieces, config),
            TrainingUtterances(*directories, config.hearing, of_fit.batch, of_fit.seed, batches),
            collate,
            DataLoader(WholeUtterances(dev), batch_size=VALID_BATCH, collate_fn=collate),
            out,
        )
