"""One writer, many readers: whole files only, whoever dies, and room for others."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from made_chain import cached, computed, doubling, files, opened, over, same, warned
from torch import Tensor

from trainables.activations import forget
from trainables.data.cache import GIB, LIMIT_VARIABLE
from trainables.preprocessing import State

FORK = multiprocessing.get_context("fork")
"""Of a process that has imported torch already, which takes longer than all these tests together."""

EVERYTHING = torch.arange(24)


def test_a_later_process_reads_what_the_first_wrote_and_runs_no_block(cache: Path) -> None:
    chain, ran = doubling()
    first = cached(chain, 3).batch(EVERYTHING)
    forget()
    ran.clear()
    assert same(cached(chain, 3).batch(EVERYTHING), first)
    assert not ran


def test_a_process_opens_a_file_once(cache: Path) -> None:
    chain, _ = doubling()
    activations = cached(chain, 3)
    assert opened(chain, 3) is activations
    (path,) = files(cache)
    path.unlink()
    # Evicted by another process: what is mapped stays readable.
    assert opened(chain, 3) is activations
    assert same(activations.batch(EVERYTHING), computed(chain, 3, EVERYTHING))


def test_other_keys_have_other_files(cache: Path) -> None:
    for name in ("a", "b"):
        cached(doubling(name=name)[0], 3)
    assert len(files(cache)) == 2


@pytest.mark.parametrize("damage", ["torn", "empty", "foreign", "other", "content", "header", "position"])
def test_a_damaged_file_is_never_read_and_written_again(
    damage: str, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chain, ran = doubling()
    expected = cached(chain, 3).batch(EVERYTHING)
    (path,) = files(cache)
    whole = path.read_bytes()
    first = computed(chain, 3, torch.tensor([1]))
    assert isinstance(first, Tensor)
    places = {"content": first.numpy().tobytes(), "header": b'"num_rows": 24', "position": bytes([7, *[0] * 7])}
    if damage == "other":
        forget()
        cached(doubling(name="b")[0], 3)
        (other,) = files(cache) - {path}
        other.replace(path)
    elif damage in places:
        at = whole.rindex(places[damage])  # Arrow has the header twice, and reads the one at the end
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    else:
        path.write_bytes({"torn": whole[: len(whole) // 2], "empty": b"", "foreign": b"ARROW1" + bytes(500)}[damage])
    forget()
    ran.clear()
    assert same(cached(chain, 3).batch(EVERYTHING), expected)
    assert ran, "it was computed again"
    assert warned(caplog) == [f"{path} is damaged and written again"]


def write_slowly(reached: Event, batch: int) -> None:
    """In a process of its own: stays at one batch of the pass for ever."""
    chain, _ = doubling()
    run = chain.run
    passed: list[int] = []

    def slowly(state: State, start: int, stop: int) -> State:
        passed.append(len(state))
        # Batches of 10, 10 and 4; single samples and pairs are run before the pass.
        if passed[-1] in (10, 4) and sum(size in (10, 4) for size in passed) > batch:
            reached.set()
            time.sleep(600)
        return run(state, start, stop)

    object.__setattr__(chain, "run", slowly)
    if batch == 3:
        os.replace = lambda *_: (reached.set(), time.sleep(600))  # type: ignore[assignment]
    cached(chain, 3)


@pytest.mark.parametrize("batch", [0, 1, 2, 3])
def test_a_killed_writer_leaves_nothing_readable_and_nothing_behind(batch: int, cache: Path) -> None:
    reached = FORK.Event()
    writer = FORK.Process(target=write_slowly, args=(reached, batch))
    writer.start()
    assert reached.wait(timeout=60)
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert not files(cache)
    assert list(cache.rglob("*.writing"))
    started = time.monotonic()
    # Another file's writer clears up, too: nobody may ever ask for this one again.
    cached(doubling(name="b")[0], 3)
    assert not list(cache.rglob("*.writing"))
    chain, _ = doubling()
    assert same(cached(chain, 3).batch(EVERYTHING), computed(chain, 3, EVERYTHING))
    assert time.monotonic() - started < 30, "the lock of the dead writer was waited for"


def write_counted(start: Any, found: Any) -> None:
    """In a process of its own: what it read, and how many samples it ran for it."""
    chain, ran = doubling()
    start.wait(timeout=60)
    activations = cached(chain, 3)
    found.put((activations.batch(EVERYTHING).tolist(), len(ran)))


def test_of_two_processes_one_computes(cache: Path) -> None:
    start, found = FORK.Barrier(2), FORK.Queue()
    processes = [FORK.Process(target=write_counted, args=(start, found)) for _ in range(2)]
    for process in processes:
        process.start()
    results = [found.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    chain, _ = doubling()
    expected = computed(chain, 3, EVERYTHING)
    assert isinstance(expected, Tensor)
    assert [values for values, _ in results] == [expected.tolist()] * 2
    assert sorted(count > 0 for _, count in results) == [False, True]
    assert len(files(cache)) == 1


def test_a_writer_that_hangs_is_not_waited_for_for_ever(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trainables.activations.cache._PATIENCE_S", 0.2)
    caplog.set_level(logging.INFO)
    chain, _ = doubling()
    cached(chain, 3)
    (path,) = files(cache)
    path.unlink()
    forget()
    with FileLock(f"{path}.lock"):
        assert opened(chain, 3) is None
    assert f"waiting for the process that encodes {path}" in caplog.text
    assert "has written nothing for 0.2 s" in caplog.text


class TestNoRoom:
    def test_a_full_disk_turns_writing_off_with_one_line(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        written = os.pwrite

        def full(descriptor: int, content: Any, offset: int) -> int:
            if offset > 500:
                raise OSError(errno.ENOSPC, "No space left on device")
            return written(descriptor, content, offset)

        monkeypatch.setattr("trainables.activations.file.os.pwrite", full)
        for name in ("a", "b"):
            chain, ran = doubling(name=name)
            assert opened(chain, 3) is None
            assert bool(ran) is (name == "a"), "nothing more is tried"
        (line,) = warned(caplog)
        assert "this process stores no activations any more" in line
        assert "No space left on device" in line
        assert not files(cache)
        assert not list(cache.rglob("*.writing"))

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount here")
        if done.returncode:
            pytest.skip("this user may not mount a file system")
        try:
            yield folder
        finally:
            forget()
            subprocess.run(["umount", "-l", str(folder)], check=True)

    def test_a_disk_that_is_really_full(
        self, small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("ORCHESTRATOR_CACHE", str(small_disk))
        monkeypatch.setenv(LIMIT_VARIABLE, "1")
        # What is free is asked before; others fill the disk meanwhile.
        monkeypatch.setattr("trainables.activations.cache.make_room", lambda *_, **__: None)
        samples = torch.randn(40, 10_000)
        assert opened(over(lambda positions: samples[positions], lambda s, i, j: s, num=40)) is None
        (line,) = warned(caplog)
        assert "No space left on device" in line
        assert not files(small_disk)
        assert not list(small_disk.rglob("*.writing"))

    def test_files_that_are_there_are_still_read(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        chain, ran = doubling()
        cached(chain, 3)
        forget()

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(Path, "mkdir", refuse)
        monkeypatch.setattr("tempfile.TemporaryFile", refuse)
        ran.clear()
        assert opened(doubling(name="b")[0], 3, mode="auto") is None
        assert opened(chain, 3) is not None
        assert not ran
        assert len(warned(caplog)) == 1

    def test_a_file_too_large_for_the_limit_leaves_room_for_smaller_ones(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv(LIMIT_VARIABLE, str(200_000 / GIB))
        samples = torch.randn(40, 10_000)
        large = over(lambda positions: samples[positions], lambda s, i, j: s, num=40)
        (cache / "activations").mkdir(parents=True)
        assert opened(large) is None
        assert opened(large) is None
        (line,) = warned(caplog)
        assert LIMIT_VARIABLE in line
        assert opened(doubling()[0], 3) is not None


def test_the_longest_unused_make_room(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = torch.randn(40, 1000)

    def named(name: str) -> Any:
        return over(lambda positions: samples[positions], lambda s, i, j: s, num=40, name=name)

    written = []
    for name in ("a", "b"):
        before = files(cache)
        cached(named(name))
        written += files(cache) - before
    for hours, path in ((5, written[0]), (3, written[1])):
        os.utime(path, (time.time(), time.time() - hours * 3600))
    cached(named("a"))  # it is open in this process: asking for it is using it
    monkeypatch.setenv(LIMIT_VARIABLE, str(500_000 / GIB))
    cached(named("c"))
    assert written[0].exists()
    assert not written[1].exists()
