"""The cache keeps to its limit, gives up what was longest unused, and says what to do when it cannot."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.config import TaskSpec
from trainables.data.cache import GIB, LIMIT_VARIABLE, cache_dir, make_room
from trainables.data.encode import encode
from trainables.data.samples import Encoded
from trainables.data.source import open_source
from trainables.errors import DataError, InvalidConfig
from trainables.preprocessing import ImagePreprocessing

KIB = 2**10


def digits(preprocessing: ImagePreprocessing, side: int) -> Encoded:
    spec = TaskSpec(name="t", image_size=side)
    return encode(open_source(spec), spec, preprocessing)


def made(folder: Path, name: str, *, kib: int, hours_ago: float) -> Path:
    path = folder / "images" / f"{name}.arrow"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(kib * KIB))
    os.utime(path, (time.time(), time.time() - hours_ago * 3600))
    return path


def limit(monkeypatch: pytest.MonkeyPatch, num_bytes: int) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, str(num_bytes / GIB))


def left(cache: Path) -> set[str]:
    return {path.stem for path in cache.rglob("*.arrow")}


def disk(monkeypatch: pytest.MonkeyPatch, *, free: int) -> None:
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr("trainables.data.cache.shutil.disk_usage", lambda _: usage)


class TestMakeRoom:
    def test_the_longest_unused_go_first_and_no_more_than_needed(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, hours_ago in (("c", 2), ("a", 9), ("b", 5), ("d", 0)):
            made(cache, name, kib=10, hours_ago=hours_ago)
        limit(monkeypatch, 50 * KIB)
        make_room(10 * KIB, on_disk=0)
        assert left(cache) == {"a", "b", "c", "d"}
        make_room(11 * KIB, on_disk=0)
        assert left(cache) == {"b", "c", "d"}
        make_room(30 * KIB, on_disk=0)
        assert left(cache) == {"c", "d"}

    def test_files_of_every_kind_count(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        old = made(cache, "a", kib=10, hours_ago=9)
        (cache / "text").mkdir()
        old.rename(cache / "text" / "a.arrow")
        limit(monkeypatch, 10 * KIB)
        make_room(1, on_disk=0)
        assert left(cache) == set()

    def test_files_in_use_stay_and_the_error_says_what_would_do(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made(cache, "recent", kib=30, hours_ago=0.5)
        made(cache, "old", kib=30, hours_ago=2)
        limit(monkeypatch, 50 * KIB)
        with pytest.raises(DataError, match=f"used within the last hour.*set {LIMIT_VARIABLE} to at least 1"):
            make_room(21 * KIB, on_disk=0)
        assert left(cache) == {"recent", "old"}, "nothing is given up in vain"

    def test_a_full_disk_is_an_error_before_anything_is_encoded(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made(cache, "old", kib=30, hours_ago=2)
        limit(monkeypatch, 9 * GIB)
        disk(monkeypatch, free=3 * GIB)
        with pytest.raises(DataError, match=r"needs 4 GiB on the disk of .*, 3 GiB are free; free some, or point ORCH"):
            make_room(2 * GIB, on_disk=4 * GIB)
        assert left(cache) == {"old"}

    def test_files_are_given_up_for_the_disk_as_well(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made(cache, "old", kib=30, hours_ago=2)
        limit(monkeypatch, GIB)
        disk(monkeypatch, free=100 * KIB)
        make_room(KIB, on_disk=120 * KIB)
        assert left(cache) == set()

    @pytest.mark.parametrize(("free", "allowed"), [(1000, 50), (100, 20)])
    def test_the_default_is_50_gib_or_a_fifth_of_the_disk(
        self, free: int, allowed: int, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(LIMIT_VARIABLE, raising=False)
        cache.mkdir()
        disk(monkeypatch, free=free * GIB)
        make_room(allowed * GIB, on_disk=0)
        with pytest.raises(DataError, match=f"may hold {allowed} GiB"):
            make_room(allowed * GIB + 1, on_disk=0)

    @pytest.mark.parametrize("text", ["many", "0", "-1", "nan"])
    def test_a_limit_that_is_none_is_refused(self, text: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cache.mkdir()
        monkeypatch.setenv(LIMIT_VARIABLE, text)
        with pytest.raises(InvalidConfig, match=f"{LIMIT_VARIABLE} must be a number of GiB above 0, got '{text}'"):
            make_room(1, on_disk=0)


def test_a_file_too_large_for_the_limit_is_refused_before_decoding(
    cache: Path, preprocessing: ImagePreprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 1000 * KIB)
    monkeypatch.setattr(Image.Image, "resize", None)  # decoding would now raise
    with pytest.raises(DataError, match=LIMIT_VARIABLE):
        digits(preprocessing, 32)
    assert not left(cache)
    assert not list(cache.rglob("*.writing"))


def test_opening_a_file_keeps_it_and_readers_outlive_its_eviction(
    cache: Path, preprocessing: ImagePreprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits(preprocessing, 8)
    (first_path,) = cache.rglob("*.arrow")
    second = digits(preprocessing, 9)
    (second_path,) = set(cache.rglob("*.arrow")) - {first_path}
    for hours, path in ((5, first_path), (3, second_path)):
        os.utime(path, (time.time(), time.time() - hours * 3600))
    digits(preprocessing, 8)  # now the other one is the longest unused
    rows = torch.arange(1797)
    before = second.samples.batch(rows)
    assert isinstance(before, torch.Tensor)
    limit(monkeypatch, first_path.stat().st_size + second_path.stat().st_size)
    digits(preprocessing, 7)
    assert first_path.exists()
    assert not second_path.exists()
    after = second.samples.batch(rows)
    assert isinstance(after, torch.Tensor)
    assert torch.equal(before, after)
    assert np.isfinite(second.fingerprints).all()


def test_a_cache_that_cannot_be_written_says_what_to_do(
    tmp_path: Path, preprocessing: ImagePreprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="point ORCHESTRATOR_CACHE to a folder that can be written"):
        digits(preprocessing, 8)


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("ORCHESTRATOR_CACHE", "/o")
    assert cache_dir() == Path("/o")
    monkeypatch.delenv("ORCHESTRATOR_CACHE")
    assert cache_dir() == Path("/x/orchestrator")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "orchestrator"
