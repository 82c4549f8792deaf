"""The same fixed plan through this project and through a plain Ray Tune script (`benchmarks.plain.grid`).

Backbones x freezing depths x learning rates, the same images, seeds, first heads, sample orders, optimizer and
schedule in fp32; each side logs to an MLflow database of its own. Two trials at a time, one thread each.

What a trial took is its share of the machine's wall: each moment is shared equally by the trials that run in it and,
where slots are empty, by those that take them next, whose worker is being started. What comes before the first trial is
given as ``startup_s``: Ray, imports, data, the first worker.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.fixed_grid import depth_of, fixed_grid
from benchmarks.images import enlarge, make_photos, take_photos
from benchmarks.machine import machine
from benchmarks.process import Usage, run_measured
from benchmarks.shares import shares

__all__ = ["main"]

HEAD_FACTOR: Final = 10.0
CROP_FRAC: Final = 0.875
"""Of every checkpoint here. Images lie on the disk in the size they are cropped from: where PIL resizes and crops in
one go and torchvision in two, one colour value in a thousand is rounded differently, which moves losses by 1e-3."""
SIDES: Final = {"ours": "benchmarks.timed_sweep", "plain": "benchmarks.plain.grid"}

DIFFERENCES: Final = ("first_epoch_loss_difference", "final_loss_difference")

Key = tuple[str, float, float]
"""A backbone, the share of it that is frozen, a learning rate."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What both sides are told."""

    backbones: Sequence[str] = (
        "torchvision/resnet18@random",
        "torchvision/mobilenet_v3_small@random",
        "torchvision/efficientnet_b0@random",
    )
    freeze_fracs: Sequence[Fraction] = (Fraction(0), Fraction(1, 3), Fraction(2, 3), Fraction(1))
    learning_rates: Sequence[float] = (1e-4, 3e-4, 1e-3, 3e-3)
    epochs: int = 5
    num_train: int = 512
    image_size: int = 64
    batch_size: int = 32
    seed: int = 0
    slots: int = 2
    plain_reuses_actors: bool = False
    plain_channels_last: bool = False

    @property
    def points(self) -> dict[str, list[float]]:
        """Of the grid, as plain numbers."""
        return {"freeze_fracs": [float(f) for f in self.freeze_fracs], "learning_rates": list(self.learning_rates)}

    def for_ours(self, data: Path, storage: Path) -> dict[str, Any]:
        grid: dict[str, Any] = {**self.points, "head_factor": HEAD_FACTOR}
        num_trials = len(self.freeze_fracs) * len(self.learning_rates)
        sweep = {
            "name": "fixed",
            "tasks": [{"name": "photos", "data": str(data), "image_size": self.image_size}],
            "backbones": list(self.backbones),
            "space": fixed_grid(**grid).to_mapping(),
            "finetune": {"batch_size": self.batch_size, "precision": "fp32", "weight_decay": 1e-2},
            # Every trial in the slice that is never stopped.
            "budget": {"trials": num_trials, "random_trials": num_trials, "max_epochs": self.epochs, "grace_epochs": 1},
            "confirmation": {"seeds": 1},
            "evaluation": None,
            "resources": {"cpus_per_trial": 1, "gpus_per_trial": 0, "max_concurrent": self.slots},
            "storage": str(storage),
            "seed": self.seed,
        }
        return {"sweep": sweep, "grid": grid}

    def for_plain(self, data: Path, storage: Path, seeds: dict[tuple[float, float], int]) -> dict[str, Any]:
        return {
            "num_cpus": self.slots,
            "reuse_actors": self.plain_reuses_actors,
            "storage": str(storage),
            "backbones": list(self.backbones),
            **self.points,
            "head_factor": HEAD_FACTOR,
            "seeds": [[*point, seed] for point, seed in seeds.items()],
            "fixed": {
                "data": str(data),
                "image_size": self.image_size,
                "batch_size": self.batch_size,
                "max_epochs": self.epochs,
                "weight_decay": 1e-2,
                "channels_last": self.plain_channels_last,
            },
        }


QUICK: Final = replace(Setting(), backbones=Setting.backbones[1:2], learning_rates=(1e-4, 3e-4), epochs=2, num_train=96)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One trial of one side."""

    key: Key
    seed: int
    started: float
    """When its worker began with it, as `time.time()`."""

    ended: float
    losses: tuple[float, ...]
    """Of training and of validation after each epoch, and of test."""

    passes_s: float | None = None
    """What training and validation took of it, without everything around them; None where nobody measured it."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one side took."""

    usage: Usage
    began: float
    """When its process was started, as `time.time()`."""

    runs: list[Run]

    def to_dict(self) -> dict[str, float]:
        return {**self.usage.to_dict(), "startup_s": min(run.started for run in self.runs) - self.began}


def measure(setting: Setting, data: Path) -> dict[str, Side]:
    """Both sides, one after the other. Ours goes first: its trials' seeds are given to the plain ones."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = {side: Path(scratch) / side for side in SIDES}
        ours = _run("ours", setting.for_ours(data, folders["ours"]), folders["ours"], partial(_our_run, setting))
        seeds = {run.key[1:]: run.seed for run in ours.runs}
        plain = _run("plain", setting.for_plain(data, folders["plain"], seeds), folders["plain"], _plain_run)
    return {"ours": ours, "plain": plain}


def _run(side: str, settings: dict[str, Any], folder: Path, read: Callable[[dict[str, Any]], Run]) -> Side:
    folder.mkdir()
    settings_file, result_file = folder / "settings.json", folder / "result.json"
    settings_file.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", SIDES[side], str(settings_file), str(result_file)]
    began = time.time()
    # An empty cache: data are decoded, and activations computed, within the time that counts.
    usage = run_measured(command, environment={"ORCHESTRATOR_CACHE": str(folder / "cache")})
    print(f"{side}: {usage}", file=sys.stderr, flush=True)
    rows = json.loads(result_file.read_text(encoding="utf-8"))
    return Side(usage=usage, began=began, runs=[read(row) for row in rows])


def _our_run(setting: Setting, row: dict[str, Any]) -> Run:
    config = row["config"]
    frac = next(f for f in setting.points["freeze_fracs"] if depth_of(f, row["num_blocks"]) == config["freeze_depth"])
    return Run(
        key=(config["backbone"], frac, config["learning_rate"]),
        seed=config["seed"],
        started=row["ended"] - row["duration_s"],  # it was handed out before a worker was there
        ended=row["ended"],
        losses=_losses(row["epochs"], row["test_loss"]),
        passes_s=sum(epoch["train_s"] + epoch["eval_s"] for epoch in row["epochs"]),
    )


def _plain_run(row: dict[str, Any]) -> Run:
    config = row["config"]
    return Run(
        key=(config["backbone"], config["freeze_frac"], config["learning_rate"]),
        seed=config["seed"],
        started=row["started"],
        ended=row["ended"],
        losses=_losses(row["epochs"], row["epochs"][-1]["test_loss"]),
    )


def _losses(epochs: list[dict[str, Any]], test_loss: float) -> tuple[float, ...]:
    return (*(epoch[name] for epoch in epochs for name in ("train_loss", "val_loss")), test_loss)


def compare(setting: Setting, measured: dict[str, Side]) -> dict[str, Any]:
    """The whole plan, its quarters, and every trial."""
    usages = {side: found.to_dict() for side, found in measured.items()}
    runs = {side: {run.key: run for run in found.runs} for side, found in measured.items()}
    spans = {side: {run.key: (run.started, run.ended) for run in found.runs} for side, found in measured.items()}
    held = {side: shares(spans[side], setting.slots) for side in SIDES}
    trials = []
    for key, plain in runs["plain"].items():
        seconds = {f"{side}_s": held[side][key] for side in SIDES}
        trials.append({**_agreement(runs["ours"][key], plain), **seconds, "plain_over_ours": _ratio([seconds])})
    quarters = []
    for frac in setting.freeze_fracs:
        mine = [trial for trial in trials if trial["freeze_frac"] == float(frac)]
        ours_runs = [run for key, run in runs["ours"].items() if key[1] == float(frac)]
        by_backbone = {name: _ratio([t for t in mine if t["backbone"] == name]) for name in setting.backbones}
        quarters.append(
            {
                "frozen": str(frac),
                **{f"{side}_s": sum(trial[f"{side}_s"] for trial in mine) for side in SIDES},
                "plain_over_ours": _ratio(mine),
                "plain_over_ours_by_backbone": by_backbone,
                # What would be left of our trials if all around their passes over the data cost nothing.
                "ours_in_passes": sum(run.passes_s or 0.0 for run in ours_runs)
                / sum(run.ended - run.started for run in ours_runs),
                "least_trial_ratio": min(trial["plain_over_ours"] for trial in mine),
                **{name: max(trial[name] for trial in mine) for name in DIFFERENCES},
            }
        )
    plain_over_ours = {name: usages["plain"][name] / usages["ours"][name] for name in usages["ours"]}
    return {**usages, "plain_over_ours": plain_over_ours, "quarters": quarters, "trials": trials}


def _ratio(trials: Sequence[Mapping[str, float]]) -> float:
    return sum(trial["plain_s"] for trial in trials) / sum(trial["ours_s"] for trial in trials)


def _agreement(ours: Run, plain: Run) -> dict[str, Any]:
    if ours.seed != plain.seed:
        raise ValueError(f"trial {ours.key} has seed {ours.seed} here and {plain.seed} there")
    apart = [abs(one - other) for one, other in zip(ours.losses, plain.losses, strict=True)]
    backbone, freeze_frac, learning_rate = ours.key
    return {
        "backbone": backbone,
        "freeze_frac": freeze_frac,
        "learning_rate": learning_rate,
        "seed": ours.seed,
        "final_train_loss": ours.losses[-3],
        # Training and validation after the first epoch; training, validation and test after the last.
        **dict(zip(DIFFERENCES, (max(apart[:2]), max(apart[-3:])), strict=True)),
    }


def main() -> None:
    # What is not given is left out, so that it does not stand in the way of --quick.
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--quick", action="store_true", help="one backbone, two rates, two epochs, fewer images")
    parser.add_argument("--data", type=Path, help="folder of train/ and test/ images in classes; default: made here")
    parser.add_argument("--backbones", nargs="+", help="as in a sweep file; what benchmarks.plain knows")
    parser.add_argument("--freeze-fracs", nargs="+", type=Fraction, help="shares of the blocks, e.g. 0 1/3 2/3 1")
    parser.add_argument("--learning-rates", nargs="+", type=float, help="two or more")
    parser.add_argument("--num-train", type=int, help="images; validation and test have a quarter each")
    for name in ("image-size", "epochs", "slots", "seed"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument(
        "--plain-reuses-actors", action="store_true", help="reuse_actors for the plain side; Tune's default is not to"
    )
    parser.add_argument(
        "--plain-channels-last",
        action="store_true",
        help="the plain side's filters in the memory order that ours have: what is left of the losses' difference",
    )
    given = vars(parser.parse_args())
    data: Path | None = given.pop("data", None)
    setting = replace(QUICK if given.pop("quick", False) else Setting(), **given)
    num_held_out = max(32, setting.num_train // 4)
    counts = {"train": setting.num_train, "val": num_held_out, "test": num_held_out}
    result: dict[str, Any] = {
        "machine": machine(),
        "data": str(data or "made"),
        "images": counts,
        "setting": {**asdict(setting), "freeze_fracs": [str(frac) for frac in setting.freeze_fracs]},
    }
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder)
        make_photos(images, counts) if data is None else take_photos(images, data, counts)
        enlarge(images, math.floor(setting.image_size / CROP_FRAC + 1e-6))
        result |= compare(setting, measure(setting, images))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
