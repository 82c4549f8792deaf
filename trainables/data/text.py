"""Texts, tokenised as a checkpoint wants them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa

from trainables.data.ragged import Ragged
from trainables.data.reading import Reader
from trainables.data.samples import Encoded, Tokens
from trainables.data.sources.contract import Source
from trainables.data.store import Content, Growing, stored
from trainables.preprocessing import TextPreprocessing, Tokenizer

__all__ = ["encode_text", "encode_texts", "length_limit"]

Texts: TypeAlias = tuple[str, ...]
"""One text, or the two of a pair."""

_Row: TypeAlias = tuple[list[int], list[int]]
"""Token numbers and token types."""

_VERSION: Final = 1
_BATCH: Final = 1000


def length_limit(max_length: int | None, preprocessing: TextPreprocessing) -> int:
    """Most tokens of a text: the task's, where it is less than the checkpoint's own."""
    return min(max_length or preprocessing.max_length, preprocessing.max_length)


def encode_texts(samples: Sequence[Texts], max_length: int, tokenizer: Tokenizer) -> Tokens:
    """Texts, or pairs of them, as `encode_text` has them, in memory."""
    rows = _encoded(tokenizer, samples, max_length)
    return Tokens(
        ids=Ragged.of([np.array(tokens, dtype=np.int32) for tokens, _ in rows]),
        types=Ragged.of([np.array(kinds, dtype=np.int8) for _, kinds in rows]),
        pad_id=tokenizer.pad_id,
    )


def encode_text(source: Source, max_length: int | None, preprocessing: TextPreprocessing, *, retry: bool) -> Encoded:
    """All texts of `source` as token numbers, cut to `max_length`.

    Args:
        source: of texts or pairs of texts, all of one sort.
        max_length: in tokens, the special ones included; see `length_limit`.
        preprocessing: with the tokenizer.
        retry: encode anew where a text that could not be read now can.

    Raises:
        DataError: the cache has no room.
    """
    tokenizer, max_length = preprocessing.tokenizer, length_limit(max_length, preprocessing)
    reader = Reader(source, _convert)

    def write(scratch: Path) -> Content:
        lengths, num_cut = np.zeros(reader.num_rows, dtype=np.int64), 0
        with Growing(scratch / "ids") as ids, Growing(scratch / "types") as types:
            for start, texts in _batches(reader):
                rows, cut = _tokenised(tokenizer, texts, max_length)
                num_cut += cut
                lengths[start : start + len(rows)] = [len(tokens) for tokens, _ in rows]
                ids.append(np.fromiter(chain.from_iterable(tokens for tokens, _ in rows), dtype=np.int32))
                types.append(np.fromiter(chain.from_iterable(kinds for _, kinds in rows), dtype=np.int8))
            offsets = pa.array(np.concatenate([[0], lengths.cumsum()]), pa.int64())
            columns = {
                name: pa.LargeListArray.from_arrays(
                    offsets, pa.Array.from_buffers(kind, int(lengths.sum()), [None, file.buffer()])
                )
                for name, kind, file in (("input_ids", pa.int32(), ids), ("token_type_ids", pa.int8(), types))
            }
        return Content(columns=columns, fingerprints=reader.fingerprints, unreadable=reader.unreadable, num_cut=num_cut)

    found = stored(
        "text",
        f"{_VERSION}-{source.key}-{max_length}-{tokenizer.key}",
        reader.num_rows,
        write,
        is_stale=lambda content: retry and reader.can_read_any(content.unreadable),
    )
    content = found.content
    cut = f"{content.num_cut:,} of {reader.num_rows:,} texts are longer than {max_length} tokens and were cut"
    return Encoded(
        samples=Tokens(
            ids=Ragged.from_arrow(content.columns["input_ids"]),
            types=Ragged.from_arrow(content.columns["token_type_ids"]),
            pad_id=tokenizer.pad_id,
        ),
        digest=found.digest,
        fingerprints=content.fingerprints,
        unreadable=content.unreadable,
        notes=(cut,) if content.num_cut else (),
    )


def _convert(sample: str | Texts) -> tuple[Texts, int]:
    texts = (sample,) if isinstance(sample, str) else sample
    content = hashlib.blake2b(digest_size=8)
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        content.update(len(raw).to_bytes(8, "little") + raw)
    return texts, int.from_bytes(content.digest(), "little")


def _batches(reader: Reader[Texts]) -> Iterator[tuple[int, list[Texts | None]]]:
    """Row of the first, and the texts, of about a thousand samples at a time."""
    samples, start = iter(reader), 0
    while batch := list(islice(samples, _BATCH)):
        yield start, batch
        start += len(batch)


def _tokenised(tokenizer: Tokenizer, batch: Sequence[Texts | None], max_length: int) -> tuple[list[_Row], int]:
    """Tokens of each sample (none of an unreadable one), and how many samples were cut."""
    readable = [texts for texts in batch if texts is not None]
    encoded = _encoded(tokenizer, readable, max_length)
    # A text of just `max_length` tokens may have been cut to them: with room for one more it shows.
    full = [texts for texts, (tokens, _) in zip(readable, encoded, strict=True) if len(tokens) == max_length]
    num_cut = sum(len(tokens) > max_length for tokens, _ in _encoded(tokenizer, full, max_length + 1))
    rows = iter(encoded)
    return [([], []) if texts is None else next(rows) for texts in batch], num_cut


def _encoded(tokenizer: Tokenizer, samples: Sequence[Texts], max_length: int) -> list[_Row]:
    if not samples:
        return []
    pairs = [texts[1] for texts in samples] if len(samples[0]) == 2 else None
    return tokenizer.encode([texts[0] for texts in samples], pairs, max_length)
