"""What a file of activations says of itself."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from trainables.activations.layout import Layout, Part

__all__ = ["Header"]

_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The metadata of the file's Arrow schema. Its size does not depend on what is known only after the pass."""

    recipe: str
    """Everything that decides the content."""

    num_rows: int
    layout: Layout

    forward_s: float = 0.0
    """What one pass through the frozen blocks took, from the samples on."""

    checksums: dict[str, int] = field(default_factory=dict)
    """CRC-32 of each buffer: a fifth of the time of a cryptographic digest, and enough against accidents."""

    def to_metadata(self, buffers: list[str]) -> dict[bytes, bytes]:
        """Of the schema of a file with `buffers`."""
        described = json.dumps(
            {
                "version": _VERSION,
                "recipe": self.recipe,
                "num_rows": self.num_rows,
                "is_tuple": self.layout.is_tuple,
                "parts": [part.to_json() for part in self.layout.parts],
                "forward_s": f"{self.forward_s:.6e}",
                "checksums": {name: f"{self.checksums.get(name, 0):08x}" for name in buffers},
            }
        ).encode()
        constants = {
            f"constant.{k}".encode(): _to_bytes(value, self.layout.parts[k])
            for k, value in self.layout.constants.items()
        }
        return {b"header": described, **constants, b"crc32": f"{_checksum(described, constants):08x}".encode()}

    @classmethod
    def from_metadata(cls, metadata: dict[bytes, bytes]) -> Header:
        """Raises KeyError, TypeError or ValueError where it is no header, a damaged one, or of another version."""
        constants = {name: value for name, value in metadata.items() if name.startswith(b"constant.")}
        if int(metadata[b"crc32"], 16) != _checksum(metadata[b"header"], constants):
            raise ValueError("the header is damaged")
        values: dict[str, Any] = json.loads(metadata[b"header"])
        if values["version"] != _VERSION:
            raise ValueError("the header is of another version")
        parts = tuple(map(Part.from_json, values["parts"]))
        numbered = {int(name.removeprefix(b"constant.")): value for name, value in constants.items()}
        return cls(
            recipe=values["recipe"],
            num_rows=values["num_rows"],
            layout=Layout(
                parts=parts,
                is_tuple=values["is_tuple"],
                constants={k: _from_bytes(value, parts[k]) for k, value in numbered.items()},
            ),
            forward_s=float(values["forward_s"]),
            checksums={name: int(text, 16) for name, text in values["checksums"].items()},
        )


def _checksum(described: bytes, constants: dict[bytes, bytes]) -> int:
    checksum = zlib.crc32(described)
    for name in sorted(constants):
        checksum = zlib.crc32(constants[name], zlib.crc32(name, checksum))
    return checksum


def _to_bytes(value: Tensor, part: Part) -> bytes:
    in_order = value.permute([dim - 1 for dim in part.inner]).contiguous()
    return in_order.reshape(-1).view(torch.uint8).numpy().tobytes()


def _from_bytes(content: bytes, part: Part) -> Tensor:
    # A copy: numpy gives no array to write to over bytes, and torch warns of others.
    flat = torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy()).view(part.dtype)
    dims = [dim - 1 for dim in part.inner]
    return flat.view([part.shape[dim] for dim in dims]).permute(
        torch.tensor(dims, dtype=torch.int64).argsort().tolist()
    )
