"""A grid over backbones, freezing depths and learning rates, as a Ray Tune script.

``python -m benchmarks.plain.grid SETTINGS.json RESULT.json``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback

from benchmarks.plain.recording import Timeline
from benchmarks.plain.training import train


def main() -> None:
    settings_file, result_file = map(Path, sys.argv[1:])
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    storage = Path(settings["storage"])
    seeds = {(freeze_frac, rate): seed for freeze_frac, rate, seed in settings["seeds"]}
    ray.init(address="local", num_cpus=settings["num_cpus"], include_dashboard=False)
    timeline = Timeline()
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={
            **settings["fixed"],
            "backbone": tune.grid_search(settings["backbones"]),
            "freeze_frac": tune.grid_search(settings["freeze_fracs"]),
            "learning_rate": tune.grid_search(settings["learning_rates"]),
            "head_learning_rate": tune.sample_from(lambda c: settings["head_factor"] * c["learning_rate"]),
            "seed": tune.sample_from(lambda c: seeds[c["freeze_frac"], c["learning_rate"]]),
        },
        tune_config=tune.TuneConfig(reuse_actors=settings["reuse_actors"]),
        run_config=tune.RunConfig(
            name="plain",
            verbose=0,
            storage_path=str(storage),
            callbacks=[
                MLflowLoggerCallback(tracking_uri=f"sqlite:///{storage}/mlflow.db", experiment_name="plain"),
                timeline,
            ],
        ),
    )
    results = tuner.fit()
    if results.num_errors:
        raise SystemExit(f"{results.num_errors} trials failed: {results.errors[0]}")
    result_file.write_text(json.dumps(list(timeline.runs.values())), encoding="utf-8")


if __name__ == "__main__":
    main()
