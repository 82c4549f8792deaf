"""How soon the best of six backbones is known: this project's ``equal`` and ``race`` searches, and a plain Ray Tune
script with OptunaSearch and ASHA that is given as many trials, the backbone being one of its parameters.

The backbone in front is the one with the highest validation accuracy reported so far. Measured is when the final
winner came to the front for good: seconds since the process was started, and epochs trained by then, by all trials.
Which backbone is the best is known from an exhaustive run kept beside this file, made by ``--exhaustive``: random
configurations, all trained to the end, the chosen one of each backbone confirmed with fresh seeds on test images.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.images import digit_images, take_photos
from benchmarks.machine import machine
from benchmarks.process import run_measured

__all__ = ["main"]

BACKBONES: Final = (
    "timm/tf_efficientnet_lite0@pypi",
    "timm/tf_efficientnet_lite1@pypi",
    "timm/tf_efficientnet_lite2@pypi",
    "timm/tf_efficientnet_lite0@random",
    "torchvision/mobilenet_v3_small@random",
    "torchvision/resnet18@random",
)
MODES: Final = ("equal", "race", "plain")
KNOWN: Final = Path(__file__).with_suffix(".json")
LOGUNIFORM: Final = {
    "learning_rate": (1e-5, 1e-2),
    "head_learning_rate": (1e-3, 1e-1),
    "weight_decay": (1e-5, 1e-1),
}
COUNTS: Final = {"train": 300, "val": 500, "test": 900}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every mode is told."""

    backbones: tuple[str, ...] = BACKBONES
    trials: int = 8
    """Per backbone."""

    random_trials: int = 5
    epochs: int = 5
    confirmations: int = 1
    image_size: int = 32
    slots: int = 2

    def for_ours(self, mode: str, data: Path, storage: Path, seed: int) -> dict[str, Any]:
        ranges: dict[str, dict[str, Any]] = {
            name: {"low": low, "high": high, "log": True} for name, (low, high) in LOGUNIFORM.items()
        }
        ranges["learning_rate"]["when"] = "unfrozen"
        budget = {"trials": self.trials, "random_trials": self.random_trials, "max_epochs": self.epochs}
        # Said where it is asked for: `equal` is the default.
        allocation = {"allocation": mode} if mode == "race" else {}
        sweep = {
            "name": mode,
            "tasks": [{"name": "photos", "data": str(data), "image_size": self.image_size}],
            "backbones": list(self.backbones),
            "space": {"freeze_depth": {"low": 0, "high": "num_blocks"}, **ranges},
            "finetune": {"batch_size": 24, "precision": "fp32"},
            "budget": {**budget, **allocation, "grace_epochs": 1, "reduction_factor": 3},
            "confirmation": {"seeds": self.confirmations},
            "evaluation": None,
            "resources": {"cpus_per_trial": 1, "gpus_per_trial": 0, "max_concurrent": self.slots},
            "storage": str(storage),
            "seed": seed,
        }
        return {"sweep": sweep}

    def for_plain(self, data: Path, storage: Path, seed: int) -> dict[str, Any]:
        return {
            "num_cpus": self.slots,
            "storage": str(storage),
            "backbones": self.backbones,
            "loguniform": LOGUNIFORM,
            "budget": {"trials": self.trials * len(self.backbones), "grace_epochs": 1, "reduction_factor": 3},
            "fixed": {
                "data": str(data),
                "image_size": self.image_size,
                "batch_size": 24,
                "max_epochs": self.epochs,
                "seed": seed,
            },
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """One epoch of one search trial."""

    after_s: float
    backbone: str
    val_accuracy: float


def run_mode(setting: Setting, mode: str, data: Path, seed: int) -> tuple[float, float, list[dict[str, Any]]]:
    """Start and wall seconds of the process, and what it says of its trials."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if mode == "plain":
            module, settings = "benchmarks.plain.search", setting.for_plain(data, scratch, seed)
        else:
            module, settings = "benchmarks.timed_sweep", setting.for_ours(mode, data, scratch, seed)
        (scratch / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", module, str(scratch / "settings.json"), str(scratch / "result.json")]
        began = time.time()
        usage = run_measured(command, environment={"ORCHESTRATOR_CACHE": str(scratch / "cache")})
        runs: list[dict[str, Any]] = json.loads((scratch / "result.json").read_text(encoding="utf-8"))
    return began, usage.wall_s, runs


def answer(began: float, wall_s: float, runs: Sequence[dict[str, Any]], best: str | None) -> dict[str, Any]:
    """When the winner came to the front for good, and what was spent in all. Confirmations have no say in it."""
    searched = [run for run in runs if run.get("phase") != "confirmation"]
    reports = sorted(
        (
            Report(
                after_s=epoch["finished"] - began,
                backbone=run["config"]["backbone"],
                val_accuracy=epoch["val_accuracy"],
            )
            for run in searched
            for epoch in run["epochs"]
        ),
        key=lambda report: report.after_s,
    )
    changes = front(reports)
    winner = reports[changes[-1]].backbone
    return {
        "winner": winner,
        "is_known_best": None if best is None else winner == best,
        "val_accuracy": max(report.val_accuracy for report in reports),
        "first_for_good_s": reports[changes[-1]].after_s,
        "first_for_good_epochs": changes[-1] + 1,
        "search_s": reports[-1].after_s,
        "search_epochs": len(reports),
        "search_trials": len(searched),
        "wall_s": wall_s,
    }


def front(reports: Sequence[Report]) -> list[int]:
    """Indices of the reports at which another backbone came to the front; who is only as good stays behind."""
    changes: list[int] = []
    leader, highest = "", -1.0
    for index, report in enumerate(reports):
        if report.val_accuracy > highest:
            highest = report.val_accuracy
            if report.backbone != leader:
                leader = report.backbone
                changes.append(index)
    return changes


def exhaustive(setting: Setting, data: Path, seed: int) -> dict[str, Any]:
    """Every run as a row, and what the confirmations of each backbone reached on test."""
    _, wall_s, runs = run_mode(setting, "equal", data, seed)
    columns = ("backbone", "freeze_depth", *LOGUNIFORM)
    rows = [
        [run["phase"], *(run["config"][name] for name in columns), _best(run), run["test_accuracy"]] for run in runs
    ]
    confirmed: dict[str, list[float]] = {}
    for row in rows:
        if row[0] == "confirmation":
            confirmed.setdefault(row[1], []).append(row[-1])
    means = {name: statistics.mean(scores) for name, scores in confirmed.items()}
    return {
        "best": max(means, key=means.__getitem__),
        "confirmed_test_accuracy": {
            name: {"mean": means[name], "standard_error": statistics.stdev(scores) / len(scores) ** 0.5}
            for name, scores in confirmed.items()
        },
        "wall_s": wall_s,
        "columns": ["phase", *columns, "val_accuracy", "test_accuracy"],
        "runs": rows,
    }


def _best(run: dict[str, Any]) -> float:
    return max(float(epoch["val_accuracy"]) for epoch in run["epochs"])


def summary(answers: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians over seeds, and plain over ours."""
    keys = ("first_for_good_s", "first_for_good_epochs", "search_s", "search_epochs", "wall_s")
    medians = {mode: {key: statistics.median(a[key] for a in found) for key in keys} for mode, found in answers.items()}
    ratios = {
        f"plain_over_{mode}": {key: medians["plain"][key] / values[key] for key in keys}
        for mode, values in medians.items()
        if mode != "plain" and "plain" in medians
    }
    return {"median": medians, **ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="two backbones, two trials each, two epochs, one at a time"
    )
    parser.add_argument("--data", type=Path, help="folder of train/ and test/ images in classes; default: digits")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="one run of every mode for each")
    parser.add_argument("--trials", type=int, help=f"per backbone; default: {Setting.trials}, of --quick 2")
    parser.add_argument("--exhaustive", action="store_true", help=f"find the best and write {KNOWN.name}")
    arguments = parser.parse_args()
    # Known of the digits and the six backbones alone.
    is_known = arguments.data is None and not arguments.quick and not arguments.exhaustive
    if is_known and not KNOWN.exists():
        parser.error(f"{KNOWN} is missing, which says what the best is; make it with --exhaustive")
    setting = Setting()
    if arguments.quick:
        setting = Setting(backbones=BACKBONES[3:5], trials=2, random_trials=1, epochs=2, slots=1)
    elif arguments.exhaustive:
        setting = Setting(trials=16, random_trials=16, confirmations=5)
    if arguments.trials:
        setting = replace(setting, trials=arguments.trials)
    counts = {"train": 48, "val": 48, "test": 48} if arguments.quick else COUNTS
    result: dict[str, Any] = {"machine": machine(), "data": str(arguments.data or "digits"), "images": counts}
    result |= {"trials_per_backbone": setting.trials, "epochs": setting.epochs, "seeds": arguments.seeds}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        digit_images(data, counts) if arguments.data is None else take_photos(data, arguments.data, counts)
        if arguments.exhaustive:
            result |= exhaustive(setting, data, arguments.seeds[0])
            if not arguments.quick:
                KNOWN.write_text(_one_run_a_line(result), encoding="utf-8")
        else:
            best = json.loads(KNOWN.read_text(encoding="utf-8"))["best"] if is_known else None
            answers: dict[str, list[dict[str, Any]]] = {mode: [] for mode in arguments.modes}
            for seed in arguments.seeds:
                for mode, found in answers.items():
                    found.append({"seed": seed, **answer(*run_mode(setting, mode, data, seed), best)})
                    print(mode, json.dumps(found[-1]), file=sys.stderr, flush=True)
            result |= {"known_best": best, "answers": answers, **summary(answers)}
    print(json.dumps(result, indent=2))


def _one_run_a_line(document: dict[str, Any]) -> str:
    head = json.dumps({key: value for key, value in document.items() if key != "runs"}, indent=2)
    rows = ",\n    ".join(json.dumps(row) for row in document["runs"])
    return f'{head[:-2]},\n  "runs": [\n    {rows}\n  ]\n}}\n'


if __name__ == "__main__":
    main()
