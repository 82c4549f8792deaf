"""What a machine lacks is told before anything is trained, by name and with what to do; nothing is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

Sweep = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    """Runs ``sweep`` with a Ray and caches of its own, without a GPU."""
    ray_folder = tempfile.mkdtemp(prefix="r", dir="/tmp")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "HF_", "TORCH_"))}
    env |= {
        "RAY_TMPDIR": ray_folder,
        "CUDA_VISIBLE_DEVICES": "",
        "TORCH_HOME": str(tmp_path / "torch"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "https_proxy": "",
        "HTTPS_PROXY": "",
    }

    def sweep(*arguments: str) -> subprocess.CompletedProcess[str]:
        settings = [option for argument in arguments for option in ("--set", argument)]
        command = [sys.executable, "-m", "orchestrator", "sweep", *settings]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)

    yield sweep
    shutil.rmtree(ray_folder, ignore_errors=True)


def check_nothing_left(folder: Path) -> None:
    assert not list(folder.glob("sweeps/*/sweep.yaml"))


def test_all_that_is_missing_is_told_at_once(sweep: Sweep, tmp_path: Path) -> None:
    """Data, weights, and a size of images that a backbone does not take."""
    weights = tmp_path / "weights.pth"
    begin = time.perf_counter()
    done = sweep(
        "tasks=[{name: lost, data: /no/such/folder}, {name: digits, data: digits, image_size: 32}]",
        f"backbones=[torchvision/resnet18@{weights}, timm/vit_tiny_patch16_224@random]",
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert "Traceback" not in done.stderr
    assert "/no/such/folder" in done.stderr
    assert str(weights) in done.stderr
    assert "cannot take images of 32 px" in done.stderr
    assert "its own size is 224" in done.stderr
    assert time.perf_counter() - begin < 60
    check_nothing_left(tmp_path)


def test_a_gpu_that_is_not_there(sweep: Sweep, tmp_path: Path) -> None:
    done = sweep("resources.gpus_per_trial=1", "backbones=[timm/tf_efficientnet_lite0@random]")
    assert (done.returncode, done.stdout) == (4, "")
    assert "no node can hold a trial of 1 CPU and 1 GPU: the largest has" in done.stderr
    assert "and 0 GPU" in done.stderr
    check_nothing_left(tmp_path)
