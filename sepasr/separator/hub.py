"""A separator's files: written, loaded, and shared on the Hugging Face hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import ModelHubMixin
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from sepasr.errors import UserError
from sepasr.files import atomic_path, write_text
from sepasr.models import hub_refusals, hub_snapshot
from sepasr.separator.config import (
    CONFIG,
    WEIGHTS,
    Provenance,
    SeparatorConfig,
    on_hub,
    read_description,
)
from sepasr.weights import load_strictly

if TYPE_CHECKING:
    from typing_extensions import Self

CARD = "README.md"


class Pretrained(ModelHubMixin):
    """Files of a separator: ``config.json``, ``model.safetensors`` and a model card.

    The hub's own mixin uploads; what a separator is, its files say themselves. A mixin for a
    ``torch.nn.Module`` that is built from a configuration and a provenance.
    """

    if TYPE_CHECKING:
        config: SeparatorConfig
        provenance: Provenance
        separator: Any

        def __init__(self, config: SeparatorConfig, provenance: Provenance | None = None) -> None:
            """As the separator's."""

        def state_dict(self) -> dict[str, Tensor]:
            """As the module's."""

        def eval(self) -> Self:
            """As the module's."""

    def description(self, provenance: Provenance | None = None) -> dict[str, Any]:
        """The network's shape and how its weights came about."""
        return {
            "model_type": f"{self.config.network}_separator",
            "config": self.config.settings(),
            **asdict(provenance or self.provenance),
        }

    def save_pretrained(  # type: ignore[override]
        self,
        directory: str | Path,
        dtype: torch.dtype = torch.float32,
        provenance: Provenance | None = None,
        *,
        config: None = None,
        model_card_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Write ``config.json``, ``model.safetensors`` and ``README.md``, the model card.

        ``config.json`` describes the checkpoint: the classes and their arguments, the rate, the
        kind of reference, the trainings, and the versions it was written with.

        Args:
            directory: made where it is missing.
            dtype: how the weights are stored; they are loaded as float32 again.
            provenance: how these weights came about, where :attr:`provenance` no longer says.
            config: not used; the hub's mixin hands its own notion of one through here.
            model_card_kwargs: see :meth:`generate_model_card`. With ``files``, a directory that
                this separator was loaded from, its files are copied, and the card is new.

        Raises:
            UserError: a weight is too large for ``dtype``.
        """
        directory, card = Path(directory), dict(model_card_kwargs or {})
        if files := card.get("files"):
            directory.mkdir(parents=True, exist_ok=True)
            for name in (CONFIG, WEIGHTS):
                shutil.copyfile(Path(files) / name, directory / name)
        else:
            self._write(directory, dtype, provenance)
        said = self.generate_model_card(provenance=provenance, **card)
        write_text(directory / CARD, str(said))

    def _write(self, directory: Path, dtype: torch.dtype, provenance: Provenance | None) -> None:
        """The weights, then the description."""
        tensors = {name: _stored(name, v, dtype) for name, v in self.state_dict().items()}
        with atomic_path(directory / WEIGHTS) as temporary:
            try:
                save_file(tensors, temporary, metadata={"format": "pt"})
            except SafetensorError as error:
                what, remedy = f"cannot be written: {error}", "make room on the disk"
                raise UserError(what, where=directory / WEIGHTS, remedy=remedy) from None
        written = {
            **self.description(provenance),
            "class": _name(type(self)),
            "network_class": _name(type(self.separator)),
            "versions": versions(),
        }
        write_text(directory / CONFIG, json.dumps(written, indent=2) + "\n")

    def generate_model_card(  # type: ignore[override]
        self,
        *,
        repo_id: str | None = None,
        results: str | Path | None = None,
        provenance: Provenance | None = None,
        files: str | Path | None = None,
    ) -> Any:
        """The model card, of ``huggingface_hub``'s ``ModelCard``.

        Args:
            repo_id: its name on the hub.
            results: a ``results.json`` of the recipe, whose tables go into the card.
            provenance: as for :meth:`save_pretrained`.
            files: directory of the separator, which says with what versions it was written; None
                for those at hand.
        """
        from sepasr.separator.card import model_card

        if files is None:
            written = versions()
        else:
            described = json.loads((Path(files) / CONFIG).read_text(encoding="utf-8"))
            written = described.get("versions", {})  # older ones have none
        return model_card(
            self.description(provenance), self.state_dict(), written, repo_id, results
        )

    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        results: str | Path | None = None,
        files: str | Path | None = None,
        **options: Any,
    ) -> str:
        """Upload the files to the Hugging Face hub.

        Args:
            repo_id: ``owner/model``; made where it is missing.
            results: a ``results.json`` of the recipe, whose tables go into the model card.
            files: a directory that this separator was loaded from, whose weights and description
                go up as they are; None writes them anew, in float32.
            options: of ``huggingface_hub.ModelHubMixin.push_to_hub``: ``private``, ``token``,
                ``branch``, ``create_pr``, ``commit_message``.

        Returns:
            Address of the commit.

        Raises:
            UserError: the hub refuses, or can't be reached.
        """
        card = {"repo_id": repo_id, "results": results, "files": files}
        try:
            return super().push_to_hub(repo_id, model_card_kwargs=card, **options)
        except hub_refusals() as error:
            cause = " ".join(str(error).split())[:160]
            raise UserError(
                f"cannot be uploaded to the hub: {cause}",
                where=repo_id,
                remedy="check the name, the network, and `hf auth login`",
            ) from error

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        name_or_directory: str | Path,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
    ) -> Self:
        """Load what :meth:`save_pretrained` wrote, in evaluation mode, as float32.

        Args:
            name_or_directory: a directory, or ``owner/model`` on the Hugging Face hub.
            revision: branch, tag or commit on the hub; None is the newest.
            local_files_only: of the hub, take only what was downloaded before.
            cache_dir: where downloads are kept, instead of the hub's own place.
            token: identifies the user to the hub, in place of that of ``hf auth login``.

        Raises:
            UserError: there is no such model, it can't be downloaded, or the weights are missing or
                of another network.
        """
        directory = Path(name_or_directory)
        if on_hub(name_or_directory):
            directory = hub_snapshot(
                str(name_or_directory),
                revision,
                [CONFIG, WEIGHTS],
                local_files_only=local_files_only,
                cache_dir=cache_dir,
                token=token,
            )
        elif revision is not None:
            raise UserError(
                f"a directory has no revision '{revision}'",
                where=directory,
                remedy="leave it out, or name a model on the hub, owner/model",
            )
        separator = cls(*read_description(directory))
        separator.load_weights(directory / WEIGHTS)
        return separator.eval()

    def load_weights(self, path: str | Path) -> None:
        """Load a safetensors file strictly.

        Raises:
            UserError: the file is missing, broken, or holds the weights of another network.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError("no weights", where=path, remedy="train the separator first")
        load_strictly(self, path)  # type: ignore[arg-type]


def push_to_hub(
    directory: str | Path, repo_id: str, results: str | Path | None = None, **options: Any
) -> str:
    """Upload the files of a separator's directory; see :meth:`Pretrained.push_to_hub`."""
    from sepasr.separator.model import Separator

    return Separator.from_pretrained(Path(directory)).push_to_hub(
        repo_id, results=results, files=directory, **options
    )


def versions() -> dict[str, str]:
    """Of the packages that decide what a network computes."""
    return {name: version(name) for name in ("sepasr", "torch", "espnet")}


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _stored(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """As it goes into the file: counters stay whole numbers."""
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        finite = bool(tensor.isfinite().all())
        tensor = tensor.to(dtype)
        if finite and not tensor.isfinite().all():
            raise UserError(f"'{name}' has a value too large for {dtype}", remedy="keep float32")
    return tensor.clone(memory_format=torch.contiguous_format)  # no two share their memory
