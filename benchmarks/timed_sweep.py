"""One sweep of this project with the times of its runs: ``python -m benchmarks.timed_sweep SETTINGS.json RESULT.json``.

Everything a user's sweep does up to the ranking: data, inspection, workers, records and MLflow.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.fixed_grid import fixed_grid, hand_out_in_order
from orchestrator.conduct import storage_folder, tracking_uri
from orchestrator.config import SweepConfig, resolved_yaml, sweep_from_mapping
from orchestrator.evaluated import Evaluated
from orchestrator.folder import SweepFolder
from orchestrator.planning.plan import Plan, plan
from orchestrator.provenance import new_facts, study_facts, sweep_info
from orchestrator.sweep import StudyFacts, run_sweep
from orchestrator.tracking import Tracker

__all__ = ["main"]

Row = Mapping[str, Any]


class Timeline:
    """Attributes: `runs`, one dictionary per run in the order they were handed out; times are `time.time()`."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, int], dict[str, Any]] = {}

    def run_started(self, run: Row) -> None:
        kept = {name: run[name] for name in ("study", "number", "phase", "config", "num_blocks")}
        self.runs[run["study"], run["number"]] = {**kept, "started": time.time(), "epochs": []}

    def epoch(self, row: Row) -> None:
        kept = {name: row[name] for name in ("epoch", "train_loss", "val_loss", "val_accuracy", "train_s", "eval_s")}
        self.runs[row["study"], row["number"]]["epochs"].append({**kept, "finished": time.time()})

    def run_finished(self, trial: Row, test: Row | None, evaluated: Evaluated | None) -> None:
        ended = {"ended": time.time(), "state": trial["state"], "error": trial["error"]}
        measured = {} if test is None else {name: test[name] for name in ("test_loss", "test_accuracy")}
        self.runs[trial["study"], trial["number"]] |= {**ended, **measured, "duration_s": trial["duration_s"]}


def run(config: SweepConfig, planned: Plan) -> list[dict[str, Any]]:
    """Run the sweep; what is known of every run."""
    uri = tracking_uri(config)
    folder = SweepFolder.create(storage_folder(config), config.name, resolved_yaml(config))
    facts = new_facts(config, planned, uri)
    folder.write_facts(facts)
    tracker = Tracker(sweep_info(folder), uri, say=lambda text: print(text, file=sys.stderr))
    timeline = Timeline()

    def begin(studies: list[StudyFacts]) -> None:
        folder.write_facts({**facts, "studies": study_facts(studies)})
        tracker.start()

    run_sweep(config, planned, folder, address=None, listeners=[tracker, timeline], on_facts=begin)
    summary = tracker.close(timeout_s=60.0, status="FINISHED")
    if not summary.complete:
        raise SystemExit(f"MLflow lacks runs: {summary.error}")
    return list(timeline.runs.values())


def main() -> None:
    settings_file, result_file = map(Path, sys.argv[1:])
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    config = sweep_from_mapping(settings["sweep"])
    planned = plan(config)
    if grid := settings.get("grid"):
        hand_out_in_order()
        config = dataclasses.replace(config, space=fixed_grid(**grid))
        # A grid has no winner to confirm.
        studies = tuple(dataclasses.replace(study, confirmations=0) for study in planned.studies)
        planned = dataclasses.replace(planned, studies=studies)
    runs = run(config, planned)
    if failed := [run["error"] for run in runs if run["error"]]:
        raise SystemExit(f"{len(failed)} runs failed: {failed[0]}")
    result_file.write_text(json.dumps(runs), encoding="utf-8")


if __name__ == "__main__":
    main()
