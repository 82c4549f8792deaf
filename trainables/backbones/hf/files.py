"""The small files of a checkpoint that say what it is fed and how it is laid out: all of it but the weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from trainables.backbones.hf.build import checkpoint_of
from trainables.catalog import BackboneSpec

__all__ = ["copy_description"]

_FILES: Final = (
    *("config.json", "preprocessor_config.json", "processor_config.json", "modules.json", "sentence_bert_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt"),
    *("vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model"),
)
"""By transformers' and sentence-transformers' names; each checkpoint has some of them."""


def copy_description(spec: BackboneSpec, folder: Path) -> None:
    """Copy what `build` needs of a transformers checkpoint to make an untrained one, byte for byte, into `folder`.

    ``hf/<folder>@random`` is then the same architecture, with the same tokenizer or processor.

    Raises:
        OSError: the folder cannot be written.
        TrainableError: as `build`, where the checkpoint is not on this machine any more.
    """
    checkpoint = checkpoint_of(spec)
    modules = checkpoint.read_json("modules.json") or []
    configs = [Path(module["path"], "config.json") for module in modules if module.get("path")]
    # A stranger's file names these folders: none of them may lead out of the checkpoint.
    inside = [path.as_posix() for path in configs if not path.is_absolute() and ".." not in path.parts]
    for name in (*_FILES, *inside):
        if (file := checkpoint.file(name)) is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / name)
