"""Benchmark commands on as little as shows that they run, and that both sides of a comparison do the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.datasets import ImageFolder

from benchmarks.images import enlarge, make_photos
from benchmarks.plain.models import build_model, layers, transform_for
from trainables.backbones import build, replace_head
from trainables.backbones.taps import trim_convolutions
from trainables.catalog import lookup
from trainables.config import TaskSpec
from trainables.data import load_task

Benchmark = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.slow

MOBILENET = "torchvision/mobilenet_v3_small@random"


@pytest.fixture
def benchmark(repository: Path, tmp_path: Path) -> Iterator[Benchmark]:
    """Runs ``python -m benchmarks.<name>`` and reads the one document on its stdout."""
    # Ray puts sockets there, whose paths may hold 107 characters: not below pytest's folders.
    ray_folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    environment |= {
        "RAY_TMPDIR": str(ray_folder),
        "ORCHESTRATOR_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }

    def run(name: str, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
        done = subprocess.run(
            command, cwd=repository, env=environment, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
        document: dict[str, Any] = json.loads(done.stdout)
        assert document["machine"]["cores"] >= 1
        return document

    yield run
    shutil.rmtree(ray_folder, ignore_errors=True)


@pytest.mark.long
def test_a_fixed_plan_reaches_the_losses_of_a_plain_tune_script(benchmark: Benchmark) -> None:
    # One worker on each side: that takes seconds to load, and these trials do not.
    few = ("--freeze-fracs", "1/3", "--plain-reuses-actors", "--slots", "1")
    document = benchmark("sweep_vs_plain", "--quick", *few)
    assert [quarter["frozen"] for quarter in document["quarters"]] == ["1/3"]
    assert len(document["trials"]) == 2
    # Rounding alone parts them: order, first head, dropout and schedule are the same.
    assert max(trial["final_loss_difference"] for trial in document["trials"]) < 1e-3
    # They did train, so that an agreement says something.
    assert all(trial["final_train_loss"] < 2.3 for trial in document["trials"])
    for side in ("ours", "plain"):
        assert document[side]["wall_s"] > document[side]["startup_s"] > 0
        assert document[side]["cpu_s"] > 1
        assert document[side]["peak_memory_mib"] > 100
    assert document["plain_over_ours"]["wall_s"] > 0


def test_the_plain_script_has_the_same_pixels_and_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    images, name = tmp_path / "images", "torchvision/efficientnet_b0@random"
    make_photos(images, dict.fromkeys(("train", "val", "test"), 10))
    enlarge(images, 73)
    backbone = build(lookup(name))
    task = load_task(TaskSpec(name="photos", data=str(images), image_size=64), backbone.preprocessing)
    replace_head(backbone, 10, 3)
    plain_images = ImageFolder(str(images / "train"), transform_for(name, 64))
    plain = build_model(name, 10, 3).eval()
    pixels, labels = task.train.batch(torch.arange(10))
    ours, theirs = task.preprocessing.on_device()(pixels), torch.stack([image for image, _ in plain_images])
    assert labels.tolist() == plain_images.targets
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert len(layers(plain)) == backbone.num_blocks
    trim_convolutions(plain)  # to compare models, and not how convolutions round
    with torch.inference_mode():
        assert torch.equal(plain(theirs), backbone(theirs))


def test_a_cached_sweep_has_the_losses_of_an_uncached_one(benchmark: Benchmark) -> None:
    document = benchmark("prefix_cache", "--quick", "--backbones", MOBILENET, "--depths", "0", "1/2", "1")
    none, half, probe = document["sweeps"]
    assert all(sweep["max_relative_loss_difference"] <= 1e-6 for sweep in document["sweeps"])
    assert none["f"] == 0
    assert none["step_bound"] == none["sweep_bound"] == 1
    assert none["cache_mib"] == 0
    assert 0.2 < half["f"] < 0.8
    assert half["step_bound"] == pytest.approx((3 - 2 * half["f"]) / (3 - 3 * half["f"]))
    assert probe["f"] > 0.99
    assert probe["step_bound"] is None
    assert probe["cache_mib"] > 0
    assert probe["step_ratio"] > 2


@pytest.mark.long
def test_steps_are_measured_on_any_device_when_asked_to(benchmark: Benchmark) -> None:
    model = "torchvision/resnet18@random"
    small = ("--device", "cpu", "--quick", "--image-size", "64")
    document = benchmark("gpu_step", *small, "--models", model, "--shares", "1")
    assert [row["freeze_depth"] for row in document["throughput"]] == [0, 4]
    for row in document["throughput"]:
        for side in ("ours", "hand_written", "reference_fp32", "reference_amp"):
            assert row[f"{side}_per_s"] > 0
        assert row["ours_over_hand_written"] == row["ours_per_s"] / row["hand_written_per_s"]
        assert row["ours_of_matmul_peak"] > 0
    [sweep] = document["sweeps"]
    assert sweep["freeze_depth"] == sweep["num_blocks"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_benchmark_says_so(benchmark: Benchmark) -> None:
    assert benchmark("gpu_step")["skipped"] == "no CUDA device"


@pytest.mark.long
def test_a_plain_search_comes_to_an_answer(benchmark: Benchmark) -> None:
    document = benchmark("time_to_answer", "--quick", "--modes", "plain", "--trials", "1")
    [answer] = document["answers"]["plain"]
    assert answer["search_trials"] == 2
    assert 0 < answer["first_for_good_s"] <= answer["search_s"] <= answer["wall_s"]
    assert 1 <= answer["first_for_good_epochs"] <= answer["search_epochs"] <= 4
