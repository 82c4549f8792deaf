"""``show`` of one run, as a page, and of many, as a list."""

from __future__ import annotations

import argparse
import io
import json
import shlex
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest
from rich.console import Console
from twin import Twin, made_up_facts, small_config

from orchestrator.config import resolved_yaml
from orchestrator.display import print_run_page, print_runs
from orchestrator.display.run_page import wrapped_command
from orchestrator.display.sparkline import marker, sparkline
from orchestrator.folder import SweepFolder, write_whole
from orchestrator.lease import lease
from orchestrator.overview import overview
from orchestrator.provenance import new_facts, study_facts
from orchestrator.runs.listing import chosen_runs, in_order, list_runs
from orchestrator.runs.page import run_pages
from orchestrator.runs.parameters import depth_words
from trainables.command_line import add_settings

Run = Callable[..., tuple[int, str, str]]

PYPI = "timm/tf_efficientnet_lite0@pypi"


@pytest.fixture
def folder(stored: Path, tmp_path: Path) -> SweepFolder:
    """The finished sweep in a storage folder of its own."""
    [finished] = stored.glob("finished-*")
    shutil.copytree(finished, tmp_path / "sweeps" / "mine")
    folder = SweepFolder(tmp_path / "sweeps" / "mine")
    folder.write_facts(folder.read_facts() | {"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"})
    return folder


@pytest.fixture
def under_way(tmp_path: Path) -> Twin:
    """A sweep with two runs under way: trial 0 of each backbone, one epoch of the first."""
    config = small_config(name="begun", storage=str(tmp_path / "sweeps"))
    twin = Twin(config, tmp_path / "sweeps")
    write_whole(twin.folder.config_file, resolved_yaml(config, redacted=True))
    facts = new_facts(config, twin.plan, f"sqlite:///{tmp_path}/none.db")
    twin.folder.write_facts({**facts, "studies": study_facts(made_up_facts(twin.plan))})
    twin.suggest()
    twin.suggest()
    twin.advance("t0", lambda request, epoch: 0.25)
    return twin


def page(folder: SweepFolder, width: int = 100, **console: Any) -> Callable[..., str]:
    """Prints pages as a terminal of `width` characters shows them."""

    def text(number: int, **narrowed: str) -> str:
        out = io.StringIO()
        for found in run_pages(folder, number, **narrowed):
            print_run_page(found, Console(file=out, width=width, force_terminal=True, color_system=None, **console))
        return out.getvalue()

    return text


class TestPage:
    def test_what_a_run_was_and_what_became_of_it(self, folder: SweepFolder) -> None:
        [row] = [
            row
            for row in folder.trials.read().to_pylist()
            if row["backbone"] == PYPI and row["phase"] == "random" and 0 < row["freeze_depth"] < 18
        ][:1]
        text = page(folder)(row["number"], backbone="@pypi")
        first, second, *_ = text.splitlines()
        assert first == f"#{row['number']} {PYPI} on digits: completed"
        assert second.startswith(f"random trial; first {row['freeze_depth']} of 18 blocks frozen")
        assert f"val accuracy {100 * row['val_score']:.1f} at epoch 2" in text
        assert f"{row['learning_rate']:.4g}" in text
        assert "peak, of the last tuned block (searched)" in text
        assert "by default:" in text
        assert "100 of 1,000 trained (10.0 %), 900 frozen" in " ".join(text.split())
        assert "unchanged over 2 epochs" in text
        assert "epochs 1 to 2" in text
        assert "▁█" in text
        assert "120 train, 60 val, 8 test samples" in text
        assert "test accuracy" not in text, "nobody shall choose by test scores"
        assert str(folder.test_file(0, row["number"])) in text
        assert "python -m orchestrator ui mine" in text
        assert f"tags.`orchestrator.run_id` = 'mine/digits/{PYPI}/{row['number']}'" in text

    def test_a_probe_says_what_it_has_no_use_for(self, folder: SweepFolder) -> None:
        probes = [r for r in folder.trials.read().to_pylist() if r["freeze_depth"] == 18 and r["phase"] == "random"]
        text = page(folder)(probes[0]["number"], backbone=probes[0]["backbone"])
        assert "all 18 blocks frozen: a linear probe" in text
        assert "unused, as every block is frozen: " in text
        unused = text.partition("unused, as every block is frozen: ")[2].splitlines()[0]
        assert set(unused.split(", ")) == {"stay_near", "learning_rate", "layer_decay"}

    def test_a_confirmation_has_its_test_score(self, folder: SweepFolder) -> None:
        text = page(folder)(6, backbone="@pypi")
        assert "confirmation: the chosen configuration with a fresh seed" in text
        assert "test accuracy 75.0 (n = 8, chance 10.0)" in text
        assert "temperature_scaled" in text
        assert "--evaluate" in text

    def test_the_choice_of_a_study_is_marked(self, folder: SweepFolder, run_json: Callable[..., Any]) -> None:
        chosen = chosen_runs(folder.trials.read())
        storage = str(folder.path.parent)
        for study, number in chosen.items():
            narrowed = ("--trial", str(number), "--backbone", study.partition(":")[2])
            [run] = run_json("show", *narrowed, "--storage", storage)["runs"]
            assert run["chosen"]
        runs = run_json("show", "--storage", storage)["runs"]
        assert {run["study"]: run["number"] for run in runs if run["chosen"]} == chosen

    def test_a_failure_has_the_end_of_its_traceback(self, folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MY_SECRET_TOKEN", "hunter2hunter2")
        lines = [f"  File {number}" for number in range(40)]
        file = folder.test_file(0, 5).with_suffix(".error.txt")
        file.write_text("\n".join(["Traceback", *lines, "RuntimeError: no hunter2hunter2 [/b]"]))
        text = page(folder)(5, backbone="@pypi")
        assert "diverged: train loss is nan in epoch 1" in text
        assert f"the end of {file}:" in text
        assert "File 39" in text
        assert "File 3\n" not in text, "the end alone"
        assert "RuntimeError: no *** [/b]" in text
        hung = folder.test_file(0, 5).with_suffix(".hung.txt")
        hung.write_text("Timeout (0:10:00)!\nThread 0x1\n")
        text = page(folder)(5, backbone="@pypi")
        assert f"the end of {hung}:" in text, "what it hung in says more"
        assert str(file) in text

    @pytest.mark.parametrize("width", [80, 200])
    def test_it_fits_its_terminal_but_for_what_is_copied(self, folder: SweepFolder, width: int) -> None:
        for number in (1, 5, 6):
            text = page(folder, width)(number)
            paths_and_commands = (str(folder.path), "python -m", "http://", "tags.`", "    --")
            lines = [line for line in text.splitlines() if not any(part in line for part in paths_and_commands)]
            assert len(lines) > 20
            assert max(map(len, lines)) <= width

    def test_it_can_do_without_unicode(self, folder: SweepFolder) -> None:
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        for found in run_pages(folder, 1):
            print_run_page(found, Console(file=out, width=80))
        out.flush()
        assert "_#" in out.buffer.getvalue().decode("ascii")

    def test_what_the_worker_took_is_shown_where_it_was_measured(self, folder: SweepFolder) -> None:
        assert "MiB" not in page(folder)(1)
        rows = folder.epochs.read().to_pylist()
        folder.epochs.path.unlink()
        folder.epochs.append_all([row | {"cpu_cores": 1.25, "host_memory_mib": 512.0} for row in rows])
        text = page(folder)(1)
        assert "cores" in text
        assert "512" in text
        assert "GPU" not in text

    def test_a_sweep_whose_file_is_damaged_can_be_looked_at(self, folder: SweepFolder, run: Run) -> None:
        folder.config_file.write_text("name: [\n")
        code, out, err = run("show", "--trial", "1", "--storage", str(folder.path.parent))
        assert (code, err) == (0, "")
        assert f"not possible: the sweep's file cannot be read: {folder.config_file}:" in out
        assert "val accuracy" in out


class TestUnderWay:
    def test_its_configuration_comes_from_the_ledger(self, under_way: Twin, run_json: Callable[..., Any]) -> None:
        request = under_way.requests["t0"]
        storage = str(under_way.folder.path.parent)
        narrowed = ("--trial", "0", "--backbone", request.config.backbone, "--storage", storage)
        document = run_json("show", *narrowed)
        assert document["runs"] == []
        [run] = document["unfinished"]
        assert (run["state"], run["phase"], run["epochs"]) == ("interrupted", "random", 1)
        assert json.loads(run["config"])["learning_rate"] == request.config.learning_rate
        assert run["freeze_depth"] == request.config.freeze_depth
        assert [point["val_score"] for point in run["curve"]] == [0.25]
        assert f"--seed {request.config.seed} " in run["command"]
        with lease(under_way.folder.lease_file):
            [run] = run_json("show", *narrowed)["unfinished"]
        assert run["state"] == "running"
        assert "0 of 2 epochs" in page(under_way.folder)(0, backbone="@random")

    def test_of_confirmations_as_well(self, under_way: Twin) -> None:
        while not any(request.phase == "confirmation" for request in under_way.requests.values()):
            under_way.advance(under_way.running[0], lambda request, epoch: 0.4 + 0.01 * epoch)
            under_way.suggest()
        request = next(request for request in under_way.requests.values() if request.phase == "confirmation")
        [found] = run_pages(under_way.folder, request.number, backbone=request.config.backbone)
        assert found.run["phase"] == "confirmation"
        assert found.run["seed"] == request.config.seed
        assert json.loads(found.run["config"])["learning_rate"] == request.config.learning_rate

    def test_without_a_ledger_the_rest_is_told(self, under_way: Twin) -> None:
        under_way.folder.ledger_file.unlink()
        text = page(under_way.folder)(0, backbone="@pypi")
        assert "what it was to do is not known" in text
        assert "not possible: its configuration is not in the ledger" in text
        assert not under_way.folder.ledger_file.exists(), "to look changes nothing"


class TestCommand:
    def test_it_says_all_that_the_worker_was_given(self, folder: SweepFolder) -> None:
        row = next(r for r in folder.trials.read().to_pylist() if r["phase"] == "confirmation")
        [found] = run_pages(folder, row["number"], backbone=row["backbone"])
        assert found.command is not None
        parser = argparse.ArgumentParser()
        add_settings(parser)
        options, rest = parser.parse_known_args(found.command[3:])
        config = json.loads(row["config"])
        assert {name: getattr(options, name) for name in config} == config
        assert (options.name, options.image_size, options.num_train) == ("digits", 32, 120)
        assert rest == ["--evaluate", "--num-threads", "1", "--device", "cpu"]

    @pytest.mark.parametrize("width", [20, 80, 400])
    def test_lines_can_be_pasted(self, width: int) -> None:
        words = ("python", "-m", "trainables", "--data", "/my 'data'/$HOME", "--tune-window", "1", "3", "--compile")
        text = wrapped_command(words, width)
        assert tuple(shlex.split(text.replace(" \\\n", " "))) == words
        assert ("\n" in text) == (width < 400)
        assert "--tune-window 1 3" in text, "an option stays beside its values"


class TestLink:
    def test_it_leads_to_the_run_without_loading_mlflow(self, folder: SweepFolder, tmp_path: Path) -> None:
        with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
            database.execute("CREATE TABLE runs (run_uuid TEXT, experiment_id INTEGER, lifecycle_stage TEXT)")
            database.execute("CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT)")
            database.executemany("INSERT INTO runs VALUES (?, 7, ?)", [("gone", "deleted"), ("abc", "active")])
            identity = f"mine/digits/{PYPI}/1"
            tags = [("orchestrator.run_id", identity, "gone"), ("orchestrator.run_id", identity, "abc")]
            database.executemany("INSERT INTO tags VALUES (?, ?, ?)", tags)
            database.commit()
        pypi, random = run_pages(folder, 1)
        assert pypi.link.url == "http://127.0.0.1:5000/#/experiments/7/runs/abc"
        assert pypi.link.is_found
        assert not random.link.is_found
        assert "python -m orchestrator report mine" in page(folder)(1, backbone="@random")

    @pytest.mark.parametrize("runs", [[{"info": {"run_id": "abc"}}], []])
    def test_a_server_is_asked(self, folder: SweepFolder, runs: list[Any]) -> None:
        asked: list[Any] = []

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.answer({"experiment": {"experiment_id": "7"}})

            def do_POST(self) -> None:
                asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.answer({"runs": runs})

            def answer(self, document: Any) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
            Thread(target=server.serve_forever).start()
            address = f"http://127.0.0.1:{server.server_port}"
            folder.write_facts(folder.read_facts() | {"tracking_uri": address})
            [found] = run_pages(folder, 1, backbone="@pypi")
            server.shutdown()
        identity = f"tags.`orchestrator.run_id` = 'mine/digits/{PYPI}/1'"
        assert asked == [
            "/api/2.0/mlflow/experiments/get-by-name?experiment_name=adapt%2Fdigits",
            {"experiment_ids": ["7"], "filter": identity, "max_results": 1},
        ]
        assert found.link.is_found == bool(runs)
        if runs:
            assert found.link.url == f"{address}/#/experiments/7/runs/abc"
        else:
            assert found.link.url.startswith(f"{address}/#/experiments/7/runs?")
            assert quote(identity, safe="") in found.link.url
            assert "orderByKey=metrics" in found.link.url, "by default a run hides under its parent"

    def test_a_server_that_is_not_there_is_not_waited_for(self, folder: SweepFolder) -> None:
        folder.write_facts(folder.read_facts() | {"tracking_uri": "http://me:hunter2@127.0.0.1:9/mlflow"})
        [found] = run_pages(folder, 1, backbone="@pypi")
        assert found.link.url == "http://127.0.0.1:9/mlflow/#/experiments"
        assert not found.link.needs_server


class TestList:
    def test_the_best_come_first(self, folder: SweepFolder, run: Run) -> None:
        ended, _ = list_runs(folder)
        chosen = chosen_runs(folder.trials.read())
        runs = in_order(ended, chosen, {})
        assert runs[0]["backbone"] == PYPI
        searched = [
            row["val_score"] for row in runs if row["study"] == runs[0]["study"] and row["state"] == "completed"
        ]
        assert searched[0] == max(searched[:4])
        states = [row["state"] for row in runs if row["backbone"] == PYPI and row["phase"] != "confirmation"]
        assert states == sorted(states, key=("completed", "stopped", "failed").index)
        places: dict[str, int | None] = {row["study"]: 1 if row["backbone"] != PYPI else 2 for row in ended}
        assert in_order(ended, chosen, places)[0]["backbone"] != PYPI, "the ranking has the word"
        code, out, _ = run("show", "--storage", str(folder.path.parent))
        assert code == 0
        marked = [line.split()[1] for line in out.splitlines() if line.startswith(" * ")]
        assert marked == [str(chosen[study]) for study in dict.fromkeys(row["study"] for row in runs)]
        assert "mine: interrupted, 16 of 16 runs, 2 failed" in out
        assert "failed: #5 tf_efficientnet_lite0@pypi, #5 tf_efficientnet_lite0@random: diverged: train loss" in out

    def test_nothing_to_list_is_said(self, under_way: Twin, stored: Path, run: Run) -> None:
        [begun] = stored.glob("begun-*")
        assert "no run of these was begun" in run("show", str(begun))[1]
        assert "no run failed" in run("show", str(under_way.folder.path), "--failed")[1]

    def test_filters(self, folder: SweepFolder, run: Run, run_json: Callable[..., Any]) -> None:
        storage = ("--storage", str(folder.path.parent))
        assert {row["state"] for row in run_json("show", "--failed", *storage)["runs"]} == {"failed"}
        assert {row["backbone"] for row in run_json("show", "--backbone", "@pypi", *storage)["runs"]} == {PYPI}
        assert len(run_json("show", "--task", "digits", *storage)["runs"]) == 16
        assert len(run_json("show", "--trial", "5", "--failed", *storage)["runs"]) == 2
        for wrong, said in (
            (("--backbone", "tf_eficientnet_lite0"), "did you mean 'tf_efficientnet_lite0'?"),
            (("--task", "digit"), "did you mean 'digits'?"),
            (("--trial", "1", "--failed"), "has no failed run 1; it has 16 runs, numbered up to 7"),
            (("--trial", "9", "--backbone", "@pypi"), "has no run 9 of @pypi"),
        ):
            code, out, err = run("show", *wrong, *storage)
            assert (code, out) == (2, "")
            assert said in err

    @pytest.mark.parametrize("width", [80, 200])
    def test_it_fits_its_terminal(self, folder: SweepFolder, width: int) -> None:
        runs = in_order(list_runs(folder)[0], {}, {})
        out = io.StringIO()
        listed = [row | {"chosen": False} for row in runs]
        print_runs(overview(folder), listed, Console(file=out, width=width, force_terminal=True, color_system=None))
        assert max(map(len, out.getvalue().splitlines())) <= width
        assert ("head lr" in out.getvalue()) == (width == 200)


class TestDrawing:
    def test_sparklines(self) -> None:
        console = Console(file=io.StringIO())
        assert sparkline([0.0, 1.0, 0.5], console) == "▁█▅"
        assert sparkline([2.0, None, 2.0], console) == "▄ ▄"
        assert sparkline([float("nan")], console) == ""
        long = sparkline(list(range(1000)), console)
        assert len(long) == 60
        assert (long[0], long[-1]) == ("▁", "█")
        assert marker(2, 3, "^") == "  ^"
        assert len(marker(999, 1000, "^")) == 60

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ((0, 18, 18), "all 18 blocks tuned"),
            ((9, 18, 18), "first 9 of 18 blocks frozen"),
            ((18, 18, 18), "all 18 blocks frozen: a linear probe"),
            ((2, 5, 18), "only blocks 2 to 4 of 0 to 17 tuned, the other 15 frozen"),
            ((0, 1, 18), "only block 0 of 0 to 17 tuned, the other 17 frozen"),
        ],
    )
    def test_depth_in_words(self, given: tuple[int, int, int], said: str) -> None:
        assert depth_words(*given) == said
