"""Texts are tokenised once, and batches are what the tokenizer itself would have made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.config import TaskSpec
from trainables.data.encode import encode, notes
from trainables.data.samples import Encoded
from trainables.data.source import Source
from trainables.errors import DataError
from trainables.preprocessing import TextPreprocessing

WORDS = [f"w{i}" for i in range(40)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A WordPiece tokenizer of a few words, as BERT has one."""
    transformers = pytest.importorskip("transformers")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##ly"]
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("\n".join(vocabulary), encoding="utf-8")
    return transformers.BertTokenizerFast(vocab=str(path))


@dataclass(frozen=True)
class Bert:
    """As a backbone's adapter wraps one."""

    tokenizer: Any
    key: str = "bert-test"

    @property
    def pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id)

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int
    ) -> list[tuple[list[int], list[int]]]:
        made = self.tokenizer(
            list(texts), None if pairs is None else list(pairs), truncation=True, max_length=max_length
        )
        return list(zip(made["input_ids"], made["token_type_ids"], strict=True))


def source(samples: Sequence[Any], key: str = "texts") -> Source:
    def load(row: int) -> Any:
        if samples[row] is None:
            raise ValueError("its text is empty")
        return samples[row]

    return Source(
        modality="text",
        key=key,
        names=tuple(f"line {row + 2}" for row in range(len(samples))),
        targets=np.arange(len(samples)) % 2,
        class_names=("a", "b"),
        load=load,
    )


def sentences(num: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 25))) + "ly" for _ in range(num)]


def encoded(samples: Sequence[Any], bert: Any, limit: int = 64, **spec: Any) -> Encoded:
    """`limit` is the checkpoint's own, in tokens."""
    preprocessing = TextPreprocessing(tokenizer=Bert(bert), max_length=limit)
    return encode(source(samples), TaskSpec(name="t", **spec), preprocessing)


@pytest.mark.parametrize("pairs", [False, True], ids=["texts", "pairs"])
@pytest.mark.parametrize("length", [12, 64])
def test_a_batch_is_what_the_tokenizer_makes_of_it(
    pairs: bool, length: int, bert: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.data.text._BATCH", 7)  # so that the last one is smaller
    first, second = sentences(31, 0), sentences(31, 1)
    samples: list[Any] = list(zip(first, second, strict=True)) if pairs else list(first)
    ours = encoded(samples, bert, limit=length).samples
    rows = torch.tensor([30, 3, 3, 0, 17])
    index = rows.tolist()
    theirs = bert(
        [first[i] for i in index],
        [second[i] for i in index] if pairs else None,
        truncation=True,
        max_length=length,
        padding="longest",
        return_tensors="pt",
    )
    for made, name in zip(ours.batch(rows), ("input_ids", "attention_mask", "token_type_ids"), strict=True):
        assert made.dtype == torch.int64
        assert torch.equal(made, theirs[name])
    assert len(ours) == 31


def test_lengths_are_in_tokens(bert: Any, cache: Path) -> None:
    lengths = encoded(["w1", "w1 w2 w3", "w1 w2"], bert).samples.lengths
    assert lengths is not None
    assert lengths.tolist() == [3, 5, 4]


def test_texts_that_are_cut_are_counted(bert: Any, cache: Path) -> None:
    samples = [" ".join(WORDS[:n]) for n in (2, 5, 6, 7, 30)]  # and two special tokens
    what = encoded(samples, bert, limit=8)
    assert what.notes == ("2 of 5 texts are longer than 8 tokens and were cut",)
    assert encoded(samples, bert, limit=8).notes == what.notes  # from the file, too
    assert encoded(samples, bert, limit=40).notes == ()


def test_the_task_may_cut_shorter_but_not_longer_than_the_checkpoint(bert: Any, cache: Path) -> None:
    samples = [" ".join(WORDS)]
    for task, kept in ((None, 20), (8, 8), (30, 20)):
        lengths = encoded(samples, bert, limit=20, max_length=task).samples.lengths
        assert lengths is not None
        assert lengths.tolist() == [kept]


def test_unreadable_texts_are_named_or_left_out(bert: Any, cache: Path) -> None:
    samples = ["w1", None, "w2 w3", None]
    with pytest.raises(DataError, match=r"2 of 4 texts cannot be read.*:\n  line 3: its text is empty\n  line 5"):
        encoded(samples, bert)
    what = encoded(samples, bert, on_bad_sample="skip")
    assert what.usable.tolist() == [True, False, True, False]
    assert notes(source(samples), what) == ("2 of 4 texts cannot be read and are left out: line 3, line 5",)
    assert [part.tolist() for part in what.samples.batch(torch.tensor([2, 0]))][1] == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_none_readable(bert: Any, cache: Path) -> None:
    with pytest.raises(DataError, match="2 of 2 texts cannot be read:"):
        encoded([None, None], bert, on_bad_sample="skip")


def test_fingerprints_tell_texts_apart_that_read_alike_together(bert: Any, cache: Path) -> None:
    pairs = [("w1", "w2 w3"), ("w1 w2", "w3"), ("w1", "w2 w3"), ("w2 w3", "w1"), ("w1", "")]
    prints = encoded(pairs, bert).fingerprints.tolist()
    assert prints[0] == prints[2]
    assert len(set(prints)) == 4


def test_tokenised_once(bert: Any, cache: Path) -> None:
    first = encoded(sentences(20, 0), bert)

    class Untouched(Bert):
        def encode(self, *_: Any) -> Any:
            raise AssertionError("tokenised again")

    again = encode(source([""] * 20), TaskSpec(name="t"), TextPreprocessing(tokenizer=Untouched(bert), max_length=64))
    assert again.digest == first.digest
    rows = torch.arange(20)
    assert all(map(torch.equal, first.samples.batch(rows), again.samples.batch(rows)))
    with pytest.raises(AssertionError, match="tokenised again"):
        encode(
            source([""] * 20),
            TaskSpec(name="t"),
            TextPreprocessing(tokenizer=Untouched(bert, key="other"), max_length=64),
        )
