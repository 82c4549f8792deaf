"""Whole sweeps of sounds and texts through the command line: plug-ins, folders, every kind of task."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from shell import Done, Shell

pytestmark = pytest.mark.slow

PLUGINS = Path(__file__).parent / "plugins"
WORDS = ["fine", "bad", "word", "thing", "day"]
SHORT: dict[str, Any] = {
    "budget": {"trials": 3, "random_trials": 3, "max_epochs": 2},
    "confirmation": {"seeds": 2},
    "finetune": {"batch_size": 16},
    "resources": {"gpus_per_trial": 0, "max_concurrent": 1},  # a worker takes ten seconds to load
    "evaluation": {"num_perturbed": 8, "num_attacked": 4, "num_drifted": 8},
}
RATES = {"low": 1.0e-3, "high": 1.0e-2, "log": True}


def write_tones(folder: Path) -> None:
    """Three pitches, 24 sounds each of unequal length, at a rate that no backbone wants."""
    soundfile = pytest.importorskip("soundfile")
    rng = np.random.default_rng(0)
    for name, pitch in (("low", 300), ("middle", 900), ("high", 2700)):
        (folder / name).mkdir(parents=True)
        for index in range(24):
            seconds = np.arange(int(11_025 * rng.uniform(0.3, 0.6))) / 11_025
            tone = 0.4 * np.sin(2 * np.pi * pitch * seconds) + 0.02 * rng.standard_normal(len(seconds))
            soundfile.write(folder / name / f"{index}.wav", tone, 11_025)


def write_wav2vec2(folder: Path) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor

    Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
    ).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)


def write_bert(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *map(str, range(20))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64
    )
    BertForSequenceClassification(config).save_pretrained(folder)


def write_opinions(file: Path) -> None:
    """Texts whose number is how many fine words they hold more than bad ones."""
    rng = np.random.default_rng(0)
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["text", "opinion"])
        for _ in range(160):
            words = rng.choice(WORDS, rng.integers(4, 12), p=[0.3, 0.3, 0.2, 0.1, 0.1])
            rows.writerow([" ".join(words), float((words == "fine").sum() - (words == "bad").sum())])


def table(shell: Shell, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(shell.sweep().path / f"{name}.parquet").to_pylist()
    return rows


class TestSounds:
    @pytest.fixture(scope="class")
    @classmethod
    def shell(cls, new_shell: Callable[[str], Shell]) -> Shell:
        shell = new_shell("sounds")
        write_tones(shell.folder / "tones")
        write_wav2vec2(shell.folder / "wav2vec2")
        shell.env["PYTHONPATH"] = str(PLUGINS)
        return shell

    @pytest.fixture(scope="class")
    @classmethod
    def done(cls, shell: Shell) -> Done:
        config = {
            **SHORT,
            "name": "tones",
            "tasks": [{"name": "tones", "data": "./tones"}],
            "backbones": ["resemblyzer/voice_encoder@random", "hf/./wav2vec2@random"],
            "space": {"freeze_depth": {"low": 0, "high": "num_blocks"}, "learning_rate": RATES | {"when": "unfrozen"}},
        }
        return shell.run("sweep", shell.write(config), "--json")

    def test_a_plug_in_and_a_folder_are_ranked_side_by_side(self, done: Done, shell: Shell) -> None:
        assert done.code == 0, done.err
        trials = table(shell, "trials")
        assert {row["num_blocks"] for row in trials} == {4}  # three recurrences and an embedding; 2 + 2 layers
        assert {row["backbone"].partition("/")[0] for row in trials} == {"resemblyzer", "hf"}
        assert all(row["state"] == "completed" for row in trials)
        assert len(trials) == 2 * (3 + 2)

    def test_what_was_heard_is_recorded(self, done: Done, shell: Shell) -> None:
        assert done.code == 0, done.err
        scores = [row["val_score"] for row in table(shell, "trials")]
        assert max(scores) > 0.6  # three pitches, chance 1/3
        assert (shell.sweep().path / "report.html").exists(), done.err


class TestTexts:
    @pytest.fixture(scope="class")
    @classmethod
    def shell(cls, new_shell: Callable[[str], Shell]) -> Shell:
        shell = new_shell("texts")
        write_opinions(shell.folder / "opinions.csv")
        write_bert(shell.folder / "bert")
        return shell

    @pytest.fixture(scope="class")
    @classmethod
    def done(cls, shell: Shell) -> Done:
        config = {
            **SHORT,
            "name": "opinions",
            "tasks": [
                {"name": "opinions", "data": "./opinions.csv", "kind": "regression", "label_columns": "opinion"},
            ],
            "backbones": ["hf/./bert", "hf/./bert@random"],
            "space": {
                "tune_window": {"parts": 2},
                "head_init": {"choice": ["random", "probe"]},
                "stay_near": {"low": 1.0e-3, "high": 1.0e-1, "log": True},
                "learning_rate": RATES,
            },
        }
        return shell.run("sweep", shell.write(config), "--json")

    def test_windows_of_a_regression_are_ranked(self, done: Done, shell: Shell) -> None:
        assert done.code == 0, done.err
        trials = table(shell, "trials")
        assert {(row["freeze_depth"], row["tune_stop"]) for row in trials} <= {(0, 2), (2, 4)}
        assert {row["metric"] for row in trials} == {"r2"}
        assert all(row["val_mae"] > 0 and row["val_accuracy"] is None for row in trials)
        assert {row["head_init"] for row in trials} <= {"random", "probe"}
        configs = [json.loads(row["config"]) for row in trials]
        assert all(config["tune_window"] and config["freeze_depth"] == 0 for config in configs)

    def test_the_ranking_says_r2_and_starts_from_no_skill(self, done: Done, shell: Shell) -> None:
        assert done.code == 0, done.err
        assert (shell.sweep().path / "report.html").exists(), done.err
        rows = done.document["ranking"]
        assert {row["test_metric"] for row in rows} == {"r2"}
        assert {row["chance"] for row in rows} == {0.0}
