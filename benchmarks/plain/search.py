"""One search over backbones, freezing depths and learning rates, as a Ray Tune script with OptunaSearch and ASHA.

``python -m benchmarks.plain.search SETTINGS.json RESULT.json``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.plain.recording import Timeline
from benchmarks.plain.training import train


def main() -> None:
    settings_file, result_file = map(Path, sys.argv[1:])
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    storage, budget = Path(settings["storage"]), settings["budget"]
    ray.init(address="local", num_cpus=settings["num_cpus"], include_dashboard=False)
    timeline = Timeline()
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={
            **settings["fixed"],
            "backbone": tune.choice(settings["backbones"]),
            "freeze_frac": tune.uniform(0.0, 1.0),
            **{name: tune.loguniform(low, high) for name, (low, high) in settings["loguniform"].items()},
        },
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            search_alg=OptunaSearch(seed=settings["fixed"]["seed"]),
            scheduler=ASHAScheduler(
                time_attr="epoch",
                max_t=settings["fixed"]["max_epochs"],
                grace_period=budget["grace_epochs"],
                reduction_factor=budget["reduction_factor"],
            ),
            num_samples=budget["trials"],
            # Without it Tune keeps one pending trial behind a searcher, and a core stands idle.
            max_concurrent_trials=settings["num_cpus"],
        ),
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
