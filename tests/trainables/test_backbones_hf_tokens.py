"""Texts enter a transformers checkpoint as its own tokenizer makes them, and tables of positions stay shared."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_checkpoints import TEXTS, save_tokenizer

from trainables.backbones import build
from trainables.backbones.hf import HfTokenizer
from trainables.backbones.hf.checkpoint import Checkpoint
from trainables.catalog import lookup


def tokenizer_in(folder: Path, *, has_types: bool = True) -> HfTokenizer:
    save_tokenizer(folder)
    return HfTokenizer(Checkpoint(str(folder)), has_types)


def test_texts_and_pairs_become_tokens_with_types(tmp_path: Path) -> None:
    tokenizer = tokenizer_in(tmp_path)
    assert tokenizer.encode(["word0 word1", "else"], None, 8) == [([2, 4, 5, 3], [0] * 4), ([2, 0, 3], [0] * 3)]
    assert tokenizer.encode(["word0"], ["word1 word2"], 8) == [([2, 4, 3, 5, 6, 3], [0, 0, 0, 1, 1, 1])]
    assert tokenizer.pad_id == 1


def test_the_longer_text_of_a_pair_is_cut_first(tmp_path: Path) -> None:
    tokenizer = tokenizer_in(tmp_path)
    [(ids, _)] = tokenizer.encode(["word0 word1"], ["word2 word3 word4 word5 word6"], 8)
    assert ids == [2, 4, 5, 3, 6, 7, 8, 3]
    [(ids, _)] = tokenizer.encode(["word0 word1 word2"], None, 4)
    assert ids == [2, 4, 5, 3]


@pytest.mark.parametrize(("family", "expected"), [("bert", True), ("roberta", False), ("distilbert", False)])
def test_types_are_made_where_the_model_has_them(tmp_path: Path, family: str, expected: bool) -> None:
    TEXTS[family].save(tmp_path, **({"type_vocab_size": 1} if family == "roberta" else {}))
    assert build(lookup(f"hf/{tmp_path}")).preprocessing.tokenizer.has_types is expected


def test_a_model_that_is_fed_no_types_gets_none(tmp_path: Path) -> None:
    tokenizer = tokenizer_in(tmp_path, has_types=False)
    assert tokenizer.encode(["word0"], ["word1"], 8)[0][1] == [0] * 5


@pytest.mark.slow
def test_a_tokenizer_is_the_same_in_another_process(tmp_path: Path) -> None:
    tokenizer = tokenizer_in(tmp_path)
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again == tokenizer
    assert hash(again) == hash(tokenizer)
    before = tokenizer.key
    tokenizer.encode(["word0 " * 20], None, 4)
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).key)"
    run = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(tokenizer), capture_output=True, check=True)
    assert run.stdout.decode().split() == [before]


def test_the_key_changes_with_the_vocabulary_and_what_is_fed(tmp_path: Path) -> None:
    plain = tokenizer_in(tmp_path / "plain")
    other = tokenizer_in(tmp_path / "other", has_types=False)
    changed = tokenizer_in(tmp_path / "changed")
    file = tmp_path / "changed" / "tokenizer.json"
    file.write_text(file.read_text().replace("word39", "word99"))
    same = tokenizer_in(tmp_path / "same")
    assert len({plain.key, other.key, changed.key}) == 3
    assert same.key == plain.key


@pytest.mark.slow
def test_a_fork_after_tokenising_warns_of_nothing(tmp_path: Path) -> None:
    tokenizer_in(tmp_path)
    code = (
        "import os, sys\n"
        "from trainables.backbones.hf.checkpoint import Checkpoint\n"
        "from trainables.backbones.hf import HfTokenizer\n"
        f"t = HfTokenizer(Checkpoint({str(tmp_path)!r}), True)\n"
        "t.encode(['word0'] * 100, None, 8)\n"
        "pid = os.fork()\n"
        "t.encode(['word0'] * 100, None, 8)\n"
        "os._exit(0) if pid == 0 else os.waitpid(pid, 0)\n"
    )
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=True, timeout=60)
    assert run.stderr.decode() == ""


def test_a_tokenizer_without_padding_pads_with_the_end_of_text(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {name: i for i, name in enumerate(["<|end|>", *(f"word{i}" for i in range(9))])}
    plain = Tokenizer(models.WordLevel(words, unk_token="<|end|>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<|end|>").save_pretrained(tmp_path)
    tokenizer = HfTokenizer(Checkpoint(str(tmp_path)), False)
    assert tokenizer.pad_id == 0
    # No row of a batch is empty: the last token that counts would be none.
    assert tokenizer.encode(["word1", ""], None, 8) == [([2], [0]), ([0], [0])]


@pytest.mark.parametrize(
    ("family", "options", "expected"),
    [
        ("bert", {}, 40),
        ("bert", {"model_max_length": 20}, 20),
        ("roberta", {}, 38),
        pytest.param("mpnet", {}, 38, marks=pytest.mark.slow),
        pytest.param("gpt2", {}, 40, marks=pytest.mark.slow),
        pytest.param("t5", {}, 512, marks=pytest.mark.slow),
        pytest.param("t5", {"model_max_length": 100}, 100, marks=pytest.mark.slow),
    ],
)
def test_texts_are_as_long_as_the_positions_and_the_tokenizer_allow(
    tmp_path: Path, family: str, options: Any, expected: int
) -> None:
    TEXTS[family].save(tmp_path)
    save_tokenizer(tmp_path, **options)
    backbone = build(lookup(f"hf/{tmp_path}"))
    assert backbone.preprocessing.max_length == expected
    ids = torch.full((1, expected), 5)
    with torch.inference_mode():
        assert backbone((ids, torch.ones_like(ids), torch.zeros_like(ids))).isfinite().all()


@pytest.mark.parametrize("family", ["deberta-v3", "t5", "mpnet"])
def test_a_table_that_layers_share_trains_with_its_owner_and_through_every_layer(tmp_path: Path, family: str) -> None:
    import copy

    TEXTS[family].save(tmp_path)
    backbone = copy.deepcopy(build(lookup(f"hf/{tmp_path}")))
    [(owner, table)] = [
        (index, parameter)
        for index, block in enumerate(backbone.blocks)
        for name, parameter in block.named_parameters()
        if name.endswith(("rel_embeddings.weight", "relative_attention_bias.weight"))
    ]
    assert owner == (1 if family == "t5" else 0)
    ids = torch.arange(5, 11).unsqueeze(0)
    state = backbone.features((ids, torch.ones_like(ids), torch.zeros_like(ids)), 0, owner + 1)
    state = tuple(part.detach() for part in state)
    backbone.features(state, owner + 1).sum().backward()
    assert table.grad is not None
    assert table.grad.abs().sum() > 0


def test_the_ends_of_t5_drop_out_each_for_itself(tmp_path: Path) -> None:
    TEXTS["t5"].save(tmp_path)
    backbone = build(lookup(f"hf/{tmp_path}"))
    backbone.blocks[0].eval()
    backbone.blocks[-1].train()
    assert not any(module.training for module in backbone.blocks[0].modules())
    assert all(module.training for module in backbone.blocks[-1].modules())
