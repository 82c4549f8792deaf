"""Sweep folders: new ones are never old ones, and what a killed driver left can be read."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from twin import Twin, small_config

from orchestrator.errors import EnvironmentUnusable, UsageError
from orchestrator.folder import SweepFolder, find_sweep, list_sweeps
from orchestrator.results import rank_sweep


def test_create_never_reuses_a_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: SweepFolder.create(tmp_path, "s", "name: s\n"), range(24)))
    assert len({folder.path for folder in made}) == 24
    for folder in made:
        assert folder.config_file.read_text() == "name: s\n"
        assert folder.sweep_id.startswith("s-")
        assert folder.tables()[0].num_rows == 0
        assert folder.read_facts() == {}
    assert {folder.path for folder in list_sweeps(tmp_path)} == {folder.path for folder in made}


def test_create_says_what_is_wrong_with_the_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentUnusable, match=r"must be a folder that can be written.*--storage") as caught:
        SweepFolder.create(tmp_path / "file" / "sweeps", "s", "")
    assert caught.value.exit_code == 4


def test_find_sweep_by_id_by_path_and_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (SweepFolder.create(tmp_path / "store", name, "") for name in ("one", "two"))
    os.utime(first.config_file, (1, 1))
    assert find_sweep(None, tmp_path / "store").path == second.path
    assert find_sweep(first.sweep_id, tmp_path / "store").path == first.path
    monkeypatch.chdir(tmp_path)
    for name in (str(first.path), f"store/{first.sweep_id}", f"./store/{first.sweep_id}/"):
        assert find_sweep(name, tmp_path / "elsewhere").path == first.path
    assert [folder.path for folder in list_sweeps(tmp_path / "store")] == [first.path, second.path]


def test_find_sweep_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no sweep in .*; start one with: python -m orchestrator sweep"):
        find_sweep(None, tmp_path / "none")
    folder = SweepFolder.create(tmp_path, "digits", "")
    with pytest.raises(UsageError, match=rf"no sweep 'digit-.*; did you mean '{folder.sweep_id}'\?$"):
        find_sweep(folder.sweep_id.replace("digits", "digit"), tmp_path)
    with pytest.raises(UsageError, match=r"no sweep 'x' in [^;]*$"):
        find_sweep("x", tmp_path)


def test_what_is_known_at_the_start_is_replaced_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = SweepFolder.create(tmp_path, "s", "")
    folder.write_facts({"a": 1})

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        folder.write_facts({"a": 2, "long": "x" * 10_000})
    monkeypatch.undo()
    assert folder.read_facts() == {"a": 1}
    folder.write_facts({"a": 3})
    assert json.loads((folder.path / "sweep.json").read_text()) == {"a": 3}


def test_a_driver_killed_between_the_two_rows_of_a_trial_leaves_a_readable_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = Twin(small_config(), tmp_path)
    twin.run(lambda request, epoch: 0.5 + 0.01 * request.number)
    complete = rank_sweep(twin.folder)
    assert [row["status"] for row in complete.table.to_pylist()] == ["ranked", "ranked"]

    killed = Twin(small_config(), tmp_path)

    def dies(_: object) -> None:
        raise KeyboardInterrupt

    killed.run(lambda request, epoch: 0.5, most=4)
    killed.suggest()
    monkeypatch.setattr(killed.folder.trials, "append", dies)
    with pytest.raises(KeyboardInterrupt):
        killed.run(lambda request, epoch: 0.5, most=5)
    again = SweepFolder(killed.folder.path)
    assert len(again.tests.read()) == 5
    trials, _, tests = again.tables()
    assert (len(trials), len(tests)) == (4, 4)
    assert len(rank_sweep(again).table) == 2


def test_tables_read_while_a_driver_writes_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that ends between the reading of two tables is in none of what is returned, or in both."""
    twin = Twin(small_config(), tmp_path)
    twin.run(lambda request, epoch: 0.5, most=3)
    reader = SweepFolder(twin.folder.path)
    read = reader.trials.read

    def read_and_let_the_driver_go_on() -> object:
        table = read()
        twin.run(lambda request, epoch: 0.5, most=5)
        return table

    monkeypatch.setattr(reader.trials, "read", read_and_let_the_driver_go_on)
    trials, _, tests = reader.tables()
    assert (len(trials), len(tests)) == (3, 3)
