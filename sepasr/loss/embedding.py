"""The ASR-encoder (AE) loss and the two ways of choosing its permutation.

Ravenscroft et al., "Transcription-Free Fine-Tuning of Speech Separation Models for Noisy and
Reverberant Multi-Speaker Automatic Speech Recognition" (Interspeech 2024, arXiv 2406.08914).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, device

from sepasr.encoder.base import AsrEncoder
from sepasr.errors import UserError
from sepasr.lengths import whole
from sepasr.loss.heard import Listener
from sepasr.loss.kept import KeptEmbeddings
from sepasr.loss.loss import Loss, Moment
from sepasr.loss.perturb import Perturbation
from sepasr.loss.pit import assigned, best_permutation
from sepasr.loss.si_sdr import pairwise_si_sdr


class EmbeddingLoss:
    """Distance of frozen ASR encoders' frames for the estimates and the references.

    It is no ``nn.Module``: ``to`` has to be called by itself. What differs from step to step
    (``turns``, ``perturbation``, ``compare_every``) goes by what :meth:`begin` was told before,
    which has to be called for each batch then, in validations too; else it may be left out.

    Args:
        encoders: one, or several whose distances are added as they are; training divides each by
            what :meth:`measure` gives at the start (``listeners[k].scale``). Each gives frames,
            and names the distance (a key of ``sepasr.loss.distance.DISTANCES``); its own parameters
            take no part in training.
        fs: sampling rate of the signals in Hz. Where it isn't an encoder's, what that one hears is
            resampled, in the graph of the gradient; SI-SDR is that of the signals themselves.
        guided: True chooses the permutation by SI-SDR (guided PIT, the paper's method); False by
            the embedding distance itself (plain PIT, which the paper reports to fail).
        signal_weight: weight of an added negative SI-SDR in dB; 0 in the paper.
        turns: one encoder at each step, in turn, instead of the sum over all.
        perturbation: of what the encoders hear in training, in estimates and references alike.
        compare_every: steps between those at which the embedding's permutation is compared with
            that of SI-SDR where it isn't needed otherwise, NaN standing for it at the others; 0
            compares none.
        keep_bytes: memory, for each encoder and process, in which the embeddings of references
            that come again are kept, so that it runs on the estimates alone; 0 keeps none.

    Raises:
        UserError: an encoder's distance is unknown, or two encoders have one name.
    """

    def __init__(
        self,
        encoders: AsrEncoder | Sequence[AsrEncoder],
        fs: int,
        *,
        guided: bool = True,
        signal_weight: float = 0.0,
        turns: bool = False,
        perturbation: Perturbation | None = None,
        compare_every: int = 0,
        keep_bytes: int = 0,
    ) -> None:
        several = encoders if isinstance(encoders, Sequence) else [encoders]
        names = [encoder.name for encoder in several]
        if len(set(names)) < len(names):
            remedy = "give each a name of its own in its YAML"
            raise UserError(f"two encoders of one name: {', '.join(names)}", remedy=remedy)
        self.listeners = [
            Listener(encoder, fs, kept=KeptEmbeddings(keep_bytes) if keep_bytes else None)
            for encoder in several
        ]
        self.guided, self.signal_weight, self.turns = guided, signal_weight, turns
        self.perturbation, self.compare_every = perturbation, compare_every
        self.begin(Moment())

    def begin(self, moment: Moment) -> None:
        """See :class:`sepasr.loss.loss.SeparationLoss`."""
        self.step, self.training = moment.step, moment.training
        self.generator = torch.Generator().manual_seed(moment.seed)

    def to(self, device: device) -> EmbeddingLoss:
        """Move the encoders."""
        for listener in self.listeners:
            listener.encoder.to(device)
        return self

    def __call__(
        self, estimates: Tensor, references: Tensor, lengths: Tensor | None = None
    ) -> Loss:
        """See :class:`sepasr.loss.loss.SeparationLoss`.

        Each encoder runs once per estimate and once per reference, never once per pair; on a
        reference whose embedding is kept it doesn't run at all.
        """
        if lengths is None:
            lengths = whole(estimates)
        with torch.set_grad_enabled(self.signal_weight > 0 and torch.is_grad_enabled()):
            si_sdr = pairwise_si_sdr(estimates, references, lengths)
        permutation = best_permutation(-si_sdr)
        perturbed = (self.perturbation if self.training else None, self.generator)
        heard = {
            listener.encoder.name: listener.hear(estimates, references, lengths, *perturbed)
            for listener in self._listening()
        }
        differ = None
        if self.guided:
            distances = {name: one.ordered(permutation) for name, one in heard.items()}
            if self._compares():
                with torch.no_grad():
                    own = best_permutation(_sum(one.pairwise() for one in heard.values()))
                differ = (own != permutation).any(-1).float()
            elif self.compare_every:  # else the log would say again what it said before
                differ = torch.full_like(permutation[:, 0], torch.nan, dtype=torch.float32)
        else:
            pairwise = {name: one.pairwise() for name, one in heard.items()}
            own = best_permutation(_sum(pairwise.values()))
            differ = (own != permutation).any(-1).float()
            permutation = own
            distances = {name: assigned(one, permutation) for name, one in pairwise.items()}
        embedding = _sum(distances.values()).mean(-1)
        signal = assigned(si_sdr, permutation).mean(-1)
        parts = {"si_sdr": signal.detach(), "embedding": embedding.detach()}
        if len(self.listeners) > 1:
            parts |= {f"embedding_{name}": d.mean(-1).detach() for name, d in distances.items()}
        if differ is not None:
            parts["permutations_differ"] = differ
        value = embedding if self.signal_weight == 0 else embedding - self.signal_weight * signal
        return Loss(value, permutation, parts)

    def measure(
        self, estimates: Tensor, references: Tensor, lengths: Tensor | None = None
    ) -> Tensor:
        """Distance of each encoder by itself, (encoders,), under the permutation of SI-SDR.

        It is the mean over the batch and the speakers, unperturbed and without gradient. Arguments
        are those of :class:`sepasr.loss.loss.SeparationLoss`.
        """
        with torch.no_grad():
            if lengths is None:
                lengths = whole(estimates)
            permutation = best_permutation(-pairwise_si_sdr(estimates, references, lengths))
            heard = [one.hear(estimates, references, lengths) for one in self.listeners]
            return torch.stack([one.ordered(permutation).mean() for one in heard])

    def _listening(self) -> list[Listener]:
        """The encoders of this step."""
        if not (self.turns and self.training):
            return self.listeners
        return [self.listeners[self.step % len(self.listeners)]]

    def _compares(self) -> bool:
        # The step that begins after `step` steps is number step + 1, also to Lightning's log.
        due = self.training and self.compare_every > 0
        return due and (self.step + 1) % self.compare_every == 0


def _sum(terms: Iterable[Tensor]) -> Tensor:
    first, *others = terms
    return sum(others, first)
