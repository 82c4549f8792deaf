"""A sweep's folder made up from nothing, with everything in it that a sweep of this version leaves."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from ranking.world import Model, World

from orchestrator.evaluated import EvaluationFiles
from orchestrator.folder import SweepFolder
from orchestrator.importance import Importance
from orchestrator.ranking import Ranking
from orchestrator.results import rank_sweep

CONFIG = """name: made
tasks: []
evaluation: {perturbations: all, num_perturbed: 100, num_attacked: 8, num_explained: 900, num_drifted: 64}
"""
HOSTILE = "<script>alert(1);"
CLASSES = ("ant", "bee", "cat")
BACKBONES = (f"timm/vit{HOSTILE}@random", "timm/__pico$x$@in12k")
PERTURBATIONS = ("gaussian_noise", "blur", "jpeg", "contrast")


def models(names: Iterable[str]) -> dict[str, Model]:
    """Backbones that differ a little, by name."""
    return {
        name: Model(best=0.9 - 0.02 * place, rate=-3.2 + 0.1 * place, depth=0.1 * (place % 8))
        for place, name in enumerate(names)
    }


IMPORTANCES = tuple(
    Importance(
        task="digits",
        backbone=backbone,
        parameter="freeze_frac",
        importance=0.4,
        dummy_mean=0.1,
        p_dummy=0.0,
        num_trials=12,
    )
    for backbone in BACKBONES
)


@dataclass(frozen=True, kw_only=True)
class MadeFolder:
    """A sweep of `backbones` on tasks; equal fields give equal folders."""

    backbones: tuple[str, ...] = ("timm/vit_tiny@random", "timm/convnext_pico@in12k")
    tasks: tuple[str, ...] = ("digits",)
    metric: str = "accuracy"
    num_random: int = 6
    num_tpe: int = 6
    num_confirmations: int = 3
    class_names: tuple[str, ...] = CLASSES
    evaluated: bool = True
    screened: bool = True
    num_pictures: int = 2
    picture_size: tuple[int, int] = (900, 600)
    error: str = "Traceback:\nRuntimeError: lost s3://key:hunter2@bucket"
    allocation: str = "equal"
    collapse: float = 0.0
    """Probability that a confirmation collapses."""

    failing: tuple[str, ...] = ()
    """Backbones none of whose trials completes."""

    def write(self, storage: Path) -> SweepFolder:
        folder = SweepFolder.create(storage, "made", CONFIG)
        folder = _renamed(folder, storage / "made-20260301-120000")
        folder.write_facts(self._facts())
        for place, task in enumerate(self.tasks):
            self._write_task(folder, task, place)
        return folder

    def ranked(self, storage: Path) -> tuple[SweepFolder, Ranking]:
        folder = self.write(storage)
        return folder, rank_sweep(folder)

    @property
    def studies(self) -> list[str]:
        return [f"{task}:{name}" for task in self.tasks for name in self.backbones]

    def _facts(self) -> dict[str, Any]:
        kind = "regression" if self.metric == "r2" else "classification"
        study = {"num_blocks": 8, "kind": kind, "modality": "image", "num_train": 1000, "num_val": 500}
        study |= {"num_test": 1000, "num_classes": len(self.class_names), "num_outputs": 3, "metric": self.metric}
        study |= {"chance": 0.1, "digest": "d" * 64, "input": "32 px", "notes": ["12 samples appear twice"]}
        return {
            "name": "made",
            "version": "0.1.0",
            "created_at": "2026-03-01T12:00:00+00:00",
            "user": "ada",
            "git_commit": "0123456789abcdef",
            "git_dirty": True,
            "versions": {"torch": "2.14.1", "ray": "2.60.0"},
            "tracking_uri": "sqlite:///mlflow.db",
            "tasks": list(self.tasks),
            "backbones": list(self.backbones),
            "settings": {
                "search.seed": 7,
                "search.random_trials": self.num_random,
                "budget.allocation": self.allocation,
                "budget.trials": self.num_random + self.num_tpe,
            },
            "studies": [{"study": name, **study} for name in self.studies],
        }

    def _write_task(self, folder: SweepFolder, task: str, place: int) -> None:
        world = World(
            models=models(self.backbones),
            task=task,
            seed=place,
            metric=self.metric,
            num_random=self.num_random,
            num_tpe=self.num_tpe,
            num_confirmations=self.num_confirmations,
            num_test=400,
            stopped=0.15,
            collapse=self.collapse,
        )
        trials, tests = (table.to_pylist() for table in world.tables())
        rng = np.random.default_rng(place)
        trials, tests = self._without_failing(trials, tests)
        extra: list[dict[str, Any]] = []
        for number, run in enumerate(trials):
            _complete(run, number)
        for name in self.backbones:
            of_study = [run for run in trials if run["backbone"] == name]
            failed = of_study[0] | {"number": 900, "phase": "tpe", "state": "failed", "error": self.error, "epochs": 0}
            extra.append(failed | {"val_score": None, "best_epoch": None})
            confirmed = [run for run in of_study if run["phase"] == "confirmation"]
            if confirmed:
                index = self.studies.index(confirmed[0]["study"])
                folder.model_folder(index, confirmed[-1]["number"]).mkdir(parents=True)
            if self.evaluated and confirmed:
                extra += self._reduced(confirmed[0], tests)
        if self.evaluated:
            self._perturb(trials, tests, rng)
        folder.tests.append_all(tests)
        folder.epochs.append_all([row for run in trials for row in _epochs(run)])
        if self.evaluated:
            for run in trials:
                if run["phase"] == "confirmation":
                    self._evaluate(folder, run, rng)
        folder.trials.append_all([*trials, *extra])
        if self.screened:
            names = ("log_me", "leep", "h_score", "knn", "num_params")
            folder.screen.append_all(
                [
                    {"task": task, "backbone": backbone, "name": name, "duration_s": 1.5}
                    | {"value": None if name == "leep" else 1e6 - 3e5 * at if name == "num_params" else 0.5 - 0.1 * at}
                    for at, backbone in enumerate(self.backbones)
                    for name in names
                ]
            )

    def _without_failing(
        self, trials: list[dict[str, Any]], tests: list[dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What fails leaves its search trials alone, without results."""
        kept = []
        for run in trials:
            if run["backbone"] not in self.failing:
                kept.append(run)
            elif run["phase"] != "confirmation":
                nothing = {"state": "failed", "error": self.error, "val_score": None, "epochs": 0}
                kept.append(run | nothing)
        studies = {run["study"] for run in kept if run["backbone"] not in self.failing}
        return kept, [test for test in tests if test["study"] in studies]

    def _reduced(self, confirmed: Mapping[str, Any], tests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows = []
        result = next(t for t in tests if (t["study"], t["number"]) == (confirmed["study"], confirmed["number"]))
        for at, share in enumerate((0.1, 0.3)):
            number = 950 + at
            rows.append({**confirmed, "number": number, "phase": "reduced", "train_frac": share})
            tests.append({**result, "number": number})
        return rows

    def _perturb(self, trials: Sequence[Mapping[str, Any]], tests: list[dict[str, Any]], rng: Any) -> None:
        confirmed = {(run["study"], run["number"]) for run in trials if run["phase"] == "confirmation"}
        for result in tests:
            if (result["study"], result["number"]) in confirmed:
                each = rng.uniform(0.5, 1.0, 100).astype(np.float32)
                result["perturbed_example_scores"] = each.tolist()
                result["perturbed_score"] = float(each.mean())

    def _evaluate(self, folder: SweepFolder, run: Mapping[str, Any], rng: Any) -> None:
        rows = [
            {"study": run["study"], "number": run["number"], "name": name, "split": split, "condition": condition}
            | {"value": value}
            for name, split, condition, value in self._measures(rng)
        ]
        folder.measures.append_all(rows)
        place = self.studies.index(run["study"])
        files = EvaluationFiles.of(folder.test_file(place, run["number"]))
        files.summary.parent.mkdir(exist_ok=True)
        confusion = (np.eye(len(self.class_names), dtype=int) * 20 + rng.integers(0, 4)).tolist()
        summary = {"class_names": self.class_names, "confusion": None if self.metric == "r2" else confusion}
        notes = ["energy: this machine has no meter"]
        files.summary.write_text(json.dumps({**summary, "notes": notes, "failures": []}))
        if self.num_pictures:
            files.pictures.mkdir(parents=True)
            names = [f"lime_{at}" for at in range(self.num_pictures)]
            for name in names:
                (files.pictures / f"{name}.png").write_bytes(picture(self.picture_size, rng))
            (files.pictures / "captions.json").write_text(json.dumps({n: f"LIME of sample {n}" for n in names}))

    def _measures(self, rng: Any) -> list[tuple[str, str, str, float | None]]:
        rows: list[tuple[str, str, str, float | None]] = []

        def add(name: str, value: float | None, condition: str = "", split: str = "test") -> None:
            rows.append((name, split, condition, None if value is None else value + float(rng.normal(0, 0.003))))

        for name, value in (("loss_before", 0.9), ("loss", 0.4), ("score_before", 0.7), ("score", 0.88)):
            add(name, value)
            add(name, value - 0.05, split="train")
        for name, value in (("gap_loss", 0.1), ("gap_score", 0.04), ("gain_probe", 0.18), ("gain_probe_relative", 0.6)):
            add(name, value)
        regression = self.metric == "r2"
        quality = ("r2", "mae", "mse") if regression else ("accuracy", "balanced_accuracy", "f1_macro", "auroc")
        for name in quality:
            add(name, 0.8)
        for kind in PERTURBATIONS:
            for severity in (1, 2, 3):
                add("perturbed_score", 0.88 - 0.05 * severity, f"{kind}:{severity}")
            add("robust_drop", -0.1, kind)
            add("flip_rate", 0.2, kind)
        add("perturbed_score", 0.88, "clean")
        add("robust_drop", -0.1)
        for condition in ("clean", "fgsm:0.01", "pgd:0.01"):
            add("attacked_score", 0.5, condition)
        if not regression:
            for name in self.class_names:
                for measure in ("precision", "recall", "f1"):
                    add(measure, 0.8, f"class:{name}")
                rows.append(("num", "test", f"class:{name}", 100.0))
            for condition in ("", "temperature_scaled"):
                for name in ("ece", "brier", "nll"):
                    add(name, 0.05, condition)
            add("temperature", 1.3, split="val")
            for index in range(10):
                middle = 0.3 + 0.07 * index
                for part, value in (("confidence", middle), ("accuracy", middle - 0.04), ("num", 40.0)):
                    rows.append((f"reliability_{part}", "test", f"bin:{index}", value))
        for block in range(8):
            add("cka", 1.0 - 0.03 * block, f"block:{block}")
        for explainer in ("lime", "kernel_shap", "integrated_gradients"):
            for name in ("faithfulness", "deletion_auc", "insertion_auc", "randomised_similarity"):
                add(name, 0.4, explainer)
        add("fidelity_r2", 0.6, "lime")
        add("random_deletion_auc", 0.5)
        add("random_insertion_auc", 0.5)
        for name, value in (("num_params", 5.7e6), ("num_params_trainable", 1e6), ("flops_forward", 1.1e9)):
            rows.append((name, "test", "", value))
        rows.append(("latency_s", "test", "", 0.012))
        rows.append(("energy_j", "test", "", None))
        return rows


def picture(size: tuple[int, int], rng: Any) -> bytes:
    """Noise, which no format makes small."""
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def only(folder: SweepFolder, keep: pa.Table, storage: Path) -> SweepFolder:
    """A folder with the same facts and trials `keep` alone."""
    made = SweepFolder.create(storage, "kept", "name: kept\n")
    made.write_facts(folder.read_facts())
    made.trials.append_all(keep.to_pylist())
    return made


def _renamed(folder: SweepFolder, path: Path) -> SweepFolder:
    """Under a name without the time in it."""
    folder.path.rename(path)
    return SweepFolder(path)


def _complete(run: dict[str, Any], number: int) -> None:
    """The columns that the ranking does not look at."""
    share = 1.0 - run["freeze_frac"]
    run |= {"best_epoch": run["epochs"] or None, "train_s": 4.0 + 6 * share, "duration_s": 6.0 + 6 * share}
    run |= {"num_params": 5_700_000, "num_params_trainable": int(1000 + 5e6 * share), "memory_mib": 300.0}
    run |= {"device": "cpu", "node": "n1", "val_loss": 0.5, "seed": number}


def _epochs(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    key = {"study": run["study"], "number": run["number"]}
    return [
        key
        | {"epoch": epoch, "step": 32 * epoch, "train_loss": 1 / epoch, "val_loss": 1.1 / epoch}
        | {"val_score": run["val_score"] - 0.05 * (run["epochs"] - epoch), "train_s": 2.0, "eval_s": 0.5}
        for epoch in range(1, run["epochs"] + 1)
    ]
