"""A sweep of many trials is taken up where it was cut off, by the code that the benchmark times."""

from __future__ import annotations

from pathlib import Path

from benchmarks.resume_scale import BACKBONES, UNDER_WAY, make_up, rank_it, take_up
from orchestrator.folder import SweepFolder

TRIALS, EPOCHS = 50, 4


def test_a_made_up_sweep_hands_out_again_what_was_under_way(tmp_path: Path) -> None:
    folder = make_up(tmp_path, TRIALS, EPOCHS)
    rows = folder.trials.read().to_pylist()
    begun = {(row["study"], row["number"]) for row in folder.attempts.read().to_pylist()}
    assert len(begun) == TRIALS
    under_way = sorted(begun - {(row["study"], row["number"]) for row in rows})
    assert 0 < len(under_way) <= UNDER_WAY + len(BACKBONES)
    assert rank_it(folder)["backbones"] == len(BACKBONES)
    again = take_up(SweepFolder(folder.path), TRIALS, EPOCHS)
    assert (again["handed_out"]["study"], again["handed_out"]["number"]) in under_way
    assert again["handed_out"]["attempt"] == 2
    assert 0 < again["restored_s"] <= again["to_the_next_trial_s"]
