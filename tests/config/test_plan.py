"""The plan is arithmetic on the configuration: its parts add up and unknowns stay unknown."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning import FACTS, sweep

from orchestrator.config import Budget, load_sweep
from orchestrator.planning.cost import FILLED, FLOPS_PER_S, expected_epochs
from orchestrator.planning.plan import plan, plan_to_dict
from orchestrator.planning.table import render_plan


@pytest.mark.usefixtures("facts")
def test_costs_of_a_known_backbone() -> None:
    study = plan(sweep()).studies[0]
    # Rungs at 1 and 3 of 9 epochs: 1 + 2/3 + 6/9 epochs for each of the 6 trials that may be stopped.
    assert study.epochs_expected == pytest.approx((2 + 3) * 9 + 6 * (1 + 2 / 3 + 6 / 9))
    assert study.epochs_max == 11 * 9
    # A quarter of the pixels, and depths 0 to 3 that leave 8000, 4000, 2000 and 0 FLOPs tuned.
    assert study.forward_flops == 2000
    assert study.train_flops == pytest.approx((2000 + 2 * 3500 / 4) * 100 * study.epochs_expected)
    assert study.eval_flops == pytest.approx(2000 * 50 * study.epochs_expected)
    # The last boundary is the feature vector, whose width does not depend on the image size.
    assert study.cache_bytes == (100 * 160 * 4, 50 * 160 * 4, 10 * 160 * 4)


@pytest.mark.usefixtures("facts")
@pytest.mark.parametrize(("depth", "share"), [(0, 1.0), (1, 0.5), (3, 0.0)])
def test_a_step_costs_one_forward_pass_and_two_of_what_is_tuned(depth: int, share: float) -> None:
    fixed = sweep("space={base: default, freeze_depth: null}", f"finetune.freeze_depth={depth}")
    study = plan(fixed).studies[0]
    assert study.train_flops == pytest.approx(2000 * (1 + 2 * share) * 100 * study.epochs_expected)


@pytest.mark.usefixtures("facts")
@pytest.mark.parametrize(
    ("window", "backward"),
    [
        # Inputs from the first tuned block to the end, weights of the tuned blocks alone.
        ("finetune.tune_window=[0, 1]", 2000 + 1000),
        ("finetune.tune_window=[1, 2]", 1000 + 500),
        ("finetune.tune_window=[0, 3]", 2000 + 2000),
        ("space.tune_window={parts: 3}", (3000 + 1500 + 1000) / 3),
    ],
)
def test_a_window_leaves_out_the_weights_behind_it(window: str, backward: float) -> None:
    study = plan(sweep("space={base: default, freeze_depth: null}", window)).studies[0]
    assert study.train_flops == pytest.approx((2000 + backward) * 100 * study.epochs_expected)


@pytest.mark.parametrize(
    ("modality", "size", "task", "scale"),
    [
        ("text", 128, "max_length: 64", 0.5 * FILLED["text"]),
        ("text", 128, "num_train: 100", None),
        ("text", None, "max_length: 64", None),
        ("audio", 16_000, "max_duration_s: 2.5", 2.5 * FILLED["audio"]),
        ("audio", 16_000, "num_train: 100", None),
    ],
)
def test_costs_grow_with_the_length_of_texts_and_sounds(
    monkeypatch: pytest.MonkeyPatch, modality: str, size: int | None, task: str, scale: float | None
) -> None:
    facts = {"hf/known": {**FACTS["timm/known"], "modality": modality, "input_size": size}}
    monkeypatch.setattr("trainables.catalog._facts", lambda: facts)
    tasks = f"tasks=[{{name: a, data: x.csv, num_val: 50, {task}}}]"
    study = plan(sweep("backbones=[hf/known]", tasks)).studies[0]
    assert study.forward_flops == (None if scale is None else 8000 * scale)
    assert study.eval_flops == (None if scale is None else pytest.approx(8000 * scale * 50 * study.epochs_expected))


@pytest.mark.usefixtures("facts")
def test_runs_on_fewer_samples_are_counted_and_cost_their_share() -> None:
    whole = plan(sweep()).studies[0]
    planned = plan(sweep("confirmation.train_fracs=[0.1, 0.3]"))
    study = planned.studies[0]
    assert (study.reduced_runs, study.runs - whole.runs, planned.runs) == (6, 6, 2 * (11 + 6))
    assert study.epochs_expected == whole.epochs_expected + 6 * 9
    assert study.epochs_max == (11 + 6) * 9
    assert whole.train_flops is not None
    assert whole.eval_flops is not None
    assert study.train_flops == pytest.approx(whole.train_flops * (1 + 0.4 * 3 * 9 / whole.epochs_expected))
    assert study.eval_flops == pytest.approx(whole.eval_flops * (1 + 6 * 9 / whole.epochs_expected))
    assert plan_to_dict(planned)["studies"][0]["train_fracs"] == (0.1, 0.3)
    assert "as many again on 10 % and on 30 %" in " ".join(render_plan(planned).split())


@pytest.mark.usefixtures("facts")
def test_totals_are_sums_and_json_takes_them() -> None:
    planned = plan(sweep(), flops_per_s=1e9)
    assert planned.runs == sum(study.trials + study.confirmations for study in planned.studies)
    assert planned.train_flops is not None
    assert planned.eval_flops is not None
    assert planned.saved_flops is not None
    assert planned.measure_flops is not None
    spent = planned.train_flops + planned.eval_flops + planned.measure_flops
    assert planned.flops == pytest.approx(spent)
    arithmetic = (spent - planned.saved_flops) / 1e9
    assert planned.compute_s == pytest.approx(arithmetic + sum(study.moving_s or 0 for study in planned.studies))
    document = json.loads(json.dumps(plan_to_dict(planned), allow_nan=False))
    for name in (
        *("runs", "epochs_max", "epochs_expected", "train_flops", "eval_flops", "saved_flops", "compute_s"),
        *("measure_flops", "cached_bytes_expected", "cached_bytes_max"),
    ):
        assert document["totals"][name] == pytest.approx(sum(study[name] for study in document["studies"]))


@pytest.mark.usefixtures("facts")
def test_a_task_on_a_share_of_its_samples_costs_that_share() -> None:
    whole = plan(sweep()).studies[0]
    quarter = plan(sweep("tasks.0.train_frac=0.25"))
    study = quarter.studies[0]
    assert (study.task.num_train, study.task.train_frac) == (100, 0.25), "the task stays what was asked for"
    assert study.train_flops == pytest.approx(0.25 * (whole.train_flops or 0))
    assert study.eval_flops == whole.eval_flops
    assert study.cache_bytes == ((25 + 50 + 10) * 100 * 4, (25 + 50 + 10) * 50 * 4, (25 + 50 + 10) * 10 * 4)
    assert (quarter.compute_s or 0) < (plan(sweep()).compute_s or 0)


@pytest.mark.usefixtures("facts")
def test_what_is_measured_of_confirmations_is_counted() -> None:
    nothing = plan(sweep("evaluation=null")).studies[0]
    assert nothing.measure_flops == 2000 * 11 * 10, "the test score of every run"
    bare = plan(sweep("evaluation={perturbations: none, num_attacked: 0, num_drifted: 0}")).studies[0]
    assert bare.measure_flops == 2000 * (11 * 10 + 3 * 2 * (10 + 100)), "both splits before and after tuning"
    perturbed = plan(sweep("evaluation={num_perturbed: 5, num_attacked: 0, num_drifted: 0}")).studies[0]
    assert perturbed.measure_flops == bare.measure_flops + 2000 * 3 * 8 * 3 * 5
    attacked = plan(sweep("evaluation={perturbations: none, num_attacked: 1000, num_drifted: 0}")).studies[0]
    assert (attacked.measure_flops or 0) > bare.measure_flops


def test_seconds_are_those_of_the_modality() -> None:
    sounds = ("backbones=[hf/facebook/wav2vec2-base]", "tasks=[{name: a, data: sounds, num_train: 100, num_val: 50}]")
    for overrides, modality in ((("backbones=[timm/resnet18]",), "image"), (sounds, "audio")):
        assert plan(sweep(*overrides)).flops_per_s == FLOPS_PER_S[modality]


@pytest.mark.usefixtures("no_facts")
def test_unknown_is_none_and_never_zero() -> None:
    planned = plan(sweep())
    document = plan_to_dict(planned)
    for name in ("num_blocks", "forward_flops", "train_flops", "eval_flops", "compute_s", "cache_bytes", "boundaries"):
        assert document["studies"][0][name] is None
    assert document["totals"]["train_flops"] is None
    assert document["totals"]["runs"] == 22
    table = render_plan(planned)
    assert "unknown until built" in table
    assert [line.split().count("?") for line in table.splitlines() if line.startswith("a ")] == [5, 5]


@pytest.mark.usefixtures("facts")
def test_one_unknown_makes_a_total_unknown() -> None:
    planned = plan(sweep("backbones=[timm/known, timm/other]"))
    assert planned.studies[0].train_flops is not None
    assert planned.studies[1].train_flops is None
    assert planned.train_flops is None
    assert planned.compute_s is None


@pytest.mark.usefixtures("facts")
def test_samples_that_only_the_data_knows_are_unknown() -> None:
    study = plan(sweep("tasks.0.num_train=null", "tasks.0.num_val=null")).studies[0]
    assert study.forward_flops == 2000
    assert (study.train_flops, study.eval_flops, study.cache_bytes) == (None, None, None)


def test_studies_are_in_order_of_tasks_then_backbones() -> None:
    tasks = "tasks=[{name: b}, {name: a}]"
    backbones = "backbones=[timm/y, hf/org/x@main]"
    keys = [study.key for study in plan(load_sweep("quickstart", [tasks, backbones])).studies]
    assert keys == ["b:timm/y", "b:hf/org/x@main", "a:timm/y", "a:hf/org/x@main"]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(2, 6))
def test_expected_epochs_lie_between_grace_and_all(max_epochs: int, grace: int, factor: int) -> None:
    grace = min(grace, max_epochs)
    expected = expected_epochs(Budget(max_epochs=max_epochs, grace_epochs=grace, reduction_factor=factor))
    assert grace <= expected <= max_epochs
    assert (expected == max_epochs) == (grace == max_epochs)


@pytest.mark.parametrize(
    ("override", "note"),
    [
        ("resources.gpus_per_trial=0.4", "2 trials fit one GPU and leave 20% of it idle; 0.5 would use all"),
        ("resources.gpus_per_trial=0.7", "1 trials fit one GPU and leave 30% of it idle; 1 would use all"),
        ("confirmation.seeds=1", "confirmation.seeds 1: too few for an interval"),
        ("confirmation.train_fracs=[0.5, 0.05]", "0.05: 5 training samples of a are less than one batch of 10"),
        ("budget.random_trials=0", "no tuning curve"),
        ("finetune.batch_size=1", "cannot train on one sample"),
    ],
)
def test_notes(override: str, note: str) -> None:
    assert any(note in line for line in plan(sweep(override)).notes)


@pytest.mark.parametrize("gpus", ["auto", "0", "0.1", "0.2", "0.25", "0.3333333333", "0.5", "1", "2"])
def test_nothing_to_note(gpus: str) -> None:
    assert plan(sweep(f"resources.gpus_per_trial={gpus}")).notes == ()


def test_the_table_fits_100_columns_whatever_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = {
        "num_blocks": 999,
        "input_size": 8,
        "block_flops": [10**15] * 999,
        "boundary_elements": [10**9] * 998 + [1],
    }
    facts = {f"timm/{'x' * 150}": {**FACTS["timm/known"], **huge}, "timm/known": FACTS["timm/known"]}
    monkeypatch.setattr("trainables.catalog._facts", lambda: facts)
    tasks = f"tasks=[{{name: {'t' * 80}, image_size: 4096, num_train: 10000000, num_val: 10000000}}]"
    budget = "budget={trials: 100000, max_epochs: 10000}"
    planned = plan(sweep(f"backbones=[timm/{'x' * 150}, timm/known, timm/{'y' * 90}]", tasks, budget))
    lines = render_plan(planned).splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line.isascii() for line in lines)


def test_throughput_must_be_positive() -> None:
    with pytest.raises(ValueError, match="flops_per_s must be > 0, got 0"):
        plan(sweep(), flops_per_s=0)
