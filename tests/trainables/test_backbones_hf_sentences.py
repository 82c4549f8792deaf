"""Sentence encoders pool as they say; the packaged one is really pretrained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hf_checkpoints import TEXTS, save_tokenizer

from trainables.backbones import Backbone, build
from trainables.catalog import lookup
from trainables.errors import InvalidConfig, MissingExtra
from trainables.preprocessing import TextPreprocessing

MINILM = "hf/sentence-transformers/all-MiniLM-L6-v2@pypi"


def write_sentence_encoder(folder: Path, pooling: dict[str, Any]) -> Any:
    """BERT without a pooler, as sentence-transformers lays it out."""
    from transformers import BertModel

    model = BertModel(TEXTS["bert"].make_config(), add_pooling_layer=False)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    modules = [
        {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16}))
    return model.eval()


@pytest.mark.parametrize(
    ("pooling", "pool"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, lambda hidden: hidden.mean(0)),
        ({"pooling_mode_cls_token": True}, lambda hidden: hidden[0]),
        ({"pooling_mode_max_tokens": True}, lambda hidden: hidden.max(0).values),
        ({"pooling_mode": "cls"}, lambda hidden: hidden[0]),
    ],
)
def test_a_sentence_encoder_pools_as_it_says(tmp_path: Path, pooling: dict[str, Any], pool: Any) -> None:
    model = write_sentence_encoder(tmp_path, pooling)
    backbone = build(lookup(f"hf/{tmp_path}"))
    ids, mask = torch.tensor([[2, 8, 9, 3], [2, 7, 3, 1]]), torch.tensor([[1] * 4, [1, 1, 1, 0]])
    with torch.inference_mode():
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        features = backbone.features((ids, mask, torch.zeros_like(ids)))
    torch.testing.assert_close(features, torch.stack([pool(hidden[0]), pool(hidden[1, :3])]))
    assert [name for name, _ in backbone.head.named_parameters()] == ["classifier.weight", "classifier.bias"]
    assert not any("pooler" in name for name, _ in backbone.named_parameters())
    assert backbone.preprocessing.max_length == 16


def test_a_sentence_encoder_that_pools_otherwise_is_refused(tmp_path: Path) -> None:
    write_sentence_encoder(tmp_path, {"pooling_mode_lasttoken": True})
    with pytest.raises(InvalidConfig, match=r"one of cls, mean, max; .* \['lasttoken'\]"):
        build(lookup(f"hf/{tmp_path}"))


@pytest.fixture(scope="module")
def minilm() -> Iterator[Backbone]:
    try:
        yield build(lookup(MINILM))
    except MissingExtra as error:
        pytest.skip(str(error))


def test_pretrained_minilm_equals_the_original_to_the_bit_on_real_sentences(minilm: Backbone) -> None:
    from transformers import AutoModel, AutoTokenizer

    assert isinstance(minilm.preprocessing, TextPreprocessing)
    path = minilm.preprocessing.tokenizer.checkpoint.path
    sentences = [
        "A cat sits on the mat.",
        "A dog lies on the rug, and it has been lying there since noon.",
        "Shares fell.",
    ]
    inputs = AutoTokenizer.from_pretrained(path)(sentences, padding=True, return_tensors="pt")
    rows = minilm.preprocessing.tokenizer.encode(sentences, None, 256)
    assert [row for row, _ in rows] == [
        ids[: int(mask.sum())].tolist() for ids, mask in zip(inputs.input_ids, inputs.attention_mask, strict=True)
    ]
    batch = (inputs.input_ids, inputs.attention_mask, inputs.token_type_ids)
    original = AutoModel.from_pretrained(path).eval()
    with torch.inference_mode():
        expected = original(**inputs).last_hidden_state
        hidden, mask = minilm.features(batch, 0, minilm.num_blocks - 1)
        features = minilm.features(batch)
        layer = SimpleNamespace(last=original.encoder.layer[-1])
        from trainables.backbones.hf.tokens import attention_mask

        assert torch.equal(layer.last(hidden, attention_mask(original.config, hidden, mask)), expected)
        weights = mask.unsqueeze(-1).float()
    assert torch.equal(features, (expected * weights).sum(1) / weights.sum(1))
    assert minilm.num_blocks == 7
    assert minilm.preprocessing.max_length == 256


def test_pretrained_minilm_knows_what_sentences_mean(minilm: Backbone) -> None:
    sentences = ["A man is playing a guitar.", "Someone plays an instrument.", "The stock market fell sharply."]
    rows = minilm.preprocessing.tokenizer.encode(sentences, None, 32)
    length = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([row + [0] * (length - len(row)) for row, _ in rows])
    with torch.inference_mode():
        features = minilm.features((ids, (ids != 0).long(), torch.zeros_like(ids)))
    near, far = torch.nn.functional.cosine_similarity(features[:1], features[1:]).tolist()
    assert near > 0.4 > 0.2 > far


def test_its_untrained_control_needs_no_hub_either(minilm: Backbone) -> None:
    control = build(lookup(MINILM.replace("@pypi", "@random")))
    assert control.preprocessing == minilm.preprocessing
    pairs = list(zip(minilm.parameters(), control.parameters(), strict=True))
    assert all(a.shape == b.shape for a, b in pairs)
    assert not any(torch.equal(a, b) for a, b in pairs if a.ndim > 1)
