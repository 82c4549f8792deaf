"""Where the files of a transformers checkpoint are, and how they are loaded without running anything in them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

from safetensors import SafetensorError

from trainables.backbones.hub import hub_offline, require_hub
from trainables.errors import MissingExtra, WeightsUnavailable

__all__ = ["PICKLE_VARIABLE", "TRUST_VARIABLE", "Checkpoint"]

TRUST_VARIABLE: Final = "ORCHESTRATOR_TRUST_REMOTE_CODE"
"""Environment variable with the exact hub ids, separated by commas, whose own Python code may be run for
their configuration, tokenizer or processor (the model itself is always one of transformers' own classes).
There is no wildcard: code from the hub runs with the rights of the user."""

PICKLE_VARIABLE: Final = "ORCHESTRATOR_READ_PICKLED_WEIGHTS"
"""Environment variable with the exact hub ids or absolute folders, separated by commas, whose weights may be read
from ``pytorch_model.bin``. No code in it is run; but a reader of pickles has had holes, one of safetensors has none."""

_PICKLED: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json")

_BROKEN: Final = (RuntimeError, SafetensorError, UnpicklingError)
"""Tensors of other shapes than the configuration says, a damaged file, a pickle of more than tensors."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model on the hub, or a folder with its files. Equal, hashable and picklable."""

    path: str
    """``owner/name`` on the hub, or the absolute path of a folder."""

    revision: str | None = None
    """Branch, tag or commit on the hub; None is its default."""

    @property
    def is_folder(self) -> bool:
        return Path(self.path).is_absolute()

    @property
    def is_trusted(self) -> bool:
        """Whether the user named it in `TRUST_VARIABLE`."""
        return self._is_named_in(TRUST_VARIABLE)

    @property
    def may_be_pickled(self) -> bool:
        """Whether the user named it in `PICKLE_VARIABLE`."""
        return self._is_named_in(PICKLE_VARIABLE)

    def _is_named_in(self, variable: str) -> bool:
        return self.path in [name.strip() for name in os.environ.get(variable, "").split(",")]

    @property
    def commit(self) -> str | None:
        """Of what lies in the hub's cache; None of a folder, or where nothing does."""
        file = None if self.is_folder else self.file("config.json")
        return None if file is None else file.parent.name

    def load(self, load: Callable[..., Any], **options: Any) -> Any:
        """Call ``load(path, **options)`` on the folder or the hub's cache; on the hub only where that answers.

        Raises:
            WeightsUnavailable: no such folder, or a file is neither there nor to be fetched.
            MissingExtra: transformers needs a package for it that is not installed.
        """
        if self.is_folder and not Path(self.path).is_dir():
            raise WeightsUnavailable(f"there is no folder {self.path}")
        options = {"trust_remote_code": self.is_trusted, "revision": self.revision or "main", **options}
        missing = f"{self.path} is not complete in {'that folder' if self.is_folder else 'the hub cache'}"
        try:
            with _quiet(), hub_offline():
                return self._call(load, options)
        except (OSError, ValueError) as error:
            if self.is_folder or "trust_remote_code" in str(error):
                raise WeightsUnavailable(self._pickled(options) or f"{missing}: {_reason(error)}") from error
            try:
                require_hub(missing)
            except WeightsUnavailable as unreachable:
                raise WeightsUnavailable(self._pickled(options) or str(unreachable)) from unreachable
        try:
            with _quiet():
                return self._call(load, options)
        except (OSError, ValueError) as error:
            raise WeightsUnavailable(
                self._pickled(options) or f"{missing} and cannot be fetched: {_reason(error)}"
            ) from error

    def _pickled(self, options: Mapping[str, Any]) -> str | None:
        """What to say where the weights are there, but as a pickle, and may not be; else None."""
        if not options.get("use_safetensors") or not any(map(self.file, _PICKLED)):
            return None
        return (
            f"the weights of {self.path} are there as a pickle alone ({_PICKLED[0]}), and safetensors are required; "
            f"save them again with transformers' save_pretrained, or, where you trust them, name {self.path} in "
            f"{PICKLE_VARIABLE} (exact hub ids or absolute folders, separated by commas)"
        )

    def file(self, name: str) -> Path | None:
        """Place of a file of the checkpoint, in its folder or in the hub's cache."""
        if self.is_folder:
            return self._folder_file(name)
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.path, name, revision=self.revision)
        return Path(found) if isinstance(found, str) else None

    def _call(self, load: Callable[..., Any], options: dict[str, Any]) -> Any:
        try:
            return load(self.path, **options)
        except ImportError as error:
            raise MissingExtra(f"{self.path}: {error}") from error
        except _BROKEN as error:
            raise WeightsUnavailable(f"the weights of {self.path} cannot be read: {error}") from error

    def read_json(self, name: str) -> Any:
        """Content of the file `name`, or None where the checkpoint has no such file.

        A model that some other tool put in the hub's cache may lack files there that the hub has: those
        are asked for where it answers.
        """
        file = self._folder_file(name) if self.is_folder else self._hub_file(name)
        return None if file is None else json.loads(file.read_text(encoding="utf-8"))

    def _folder_file(self, name: str) -> Path | None:
        file = Path(self.path, name)
        return file if file.is_file() else None

    def _hub_file(self, name: str) -> Path | None:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError

        found = try_to_load_from_cache(self.path, name, revision=self.revision)
        if found is not None:  # its place, or the mark that the hub has no such file
            return Path(found) if isinstance(found, str) else None
        missing = f"{name} of {self.path} is not in the hub cache"
        try:
            require_hub(missing)
        except WeightsUnavailable:
            return None
        try:
            return Path(hf_hub_download(self.path, name, revision=self.revision))
        except EntryNotFoundError:
            return None
        except OSError as error:  # among them every other answer of the hub
            raise WeightsUnavailable(f"{missing} and cannot be fetched: {error}") from error


def _reason(error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return (
            f"it runs Python code of its own, which is refused; if you trust it, name it in {TRUST_VARIABLE} "
            "(exact hub ids, separated by commas)"
        )
    return str(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars and warnings: which weights are new is checked against the blocks instead.

    And without asking the hub to convert a pickled checkpoint, which transformers does of its own accord.
    """
    from transformers.utils import logging

    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")

    before, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if had_bar:
            logging.enable_progress_bar()
