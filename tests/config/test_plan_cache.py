"""What a plan says of the cache of frozen activations, and of a race: estimates that add up."""

from __future__ import annotations

import json

import pytest
from planning import sweep

from orchestrator.planning.cache import Boundary
from orchestrator.planning.plan import StudyPlan, plan, plan_to_dict
from orchestrator.planning.table import render_plan


def boundary_of(planned: StudyPlan, depth: int) -> Boundary:
    assert planned.boundaries is not None
    [found] = [boundary for boundary in planned.boundaries if boundary.depth == depth]
    return found


SLOW = 1e5
"""FLOPs per second at which computing again is always dearer than reading."""


@pytest.mark.usefixtures("facts")
def test_what_is_cached_is_every_boundary_that_may_be_drawn_and_pays() -> None:
    study = plan(sweep(), flops_per_s=SLOW).studies[0]
    assert study.boundaries is not None
    assert [boundary.depth for boundary in study.boundaries] == [1, 2, 3], "at depth 0 nothing is frozen"
    assert study.cache_bytes is not None
    assert tuple(boundary.num_bytes for boundary in study.boundaries) == study.cache_bytes
    assert [boundary.prefix_flops for boundary in study.boundaries] == [1000, 1500, 2000]
    # 11 runs draw one of four depths.
    assert boundary_of(study, 1).p_drawn == pytest.approx(1 - 0.75**11)
    assert study.cached_bytes_max == sum(study.cache_bytes)
    assert study.cached_bytes_expected == pytest.approx(sum(study.cache_bytes) * (1 - 0.75**11))


@pytest.mark.usefixtures("facts")
def test_one_depth_alone_saves_all_passes_but_the_first() -> None:
    fixed = sweep("space={base: default, freeze_depth: null}", "finetune.freeze_depth=2")
    planned = plan(fixed, flops_per_s=SLOW)
    study = planned.studies[0]
    epochs = study.epochs_expected
    assert study.saved_flops == pytest.approx((epochs - 1) * 1500 * (100 + 50))
    plain = plan(sweep("space={base: default, freeze_depth: null}", "finetune.freeze_depth=2", OFF), flops_per_s=SLOW)
    assert plain.studies[0].train_flops == study.train_flops
    seconds = planned.seconds(study)
    assert seconds is not None
    assert study.flops is not None
    assert seconds < study.flops / SLOW == plain.seconds(plain.studies[0])


OFF = "execution.activation_cache=off"


@pytest.mark.usefixtures("facts")
@pytest.mark.parametrize(
    ("overrides", "stored"),
    [
        ((OFF,), None),
        # 160 elements from 1000 FLOPs: at 1e18 FLOPs a second computing again costs nothing.
        ((), 0),
        (("execution.activation_cache=always",), (100 + 50 + 10) * 100 * 4),
        (("execution.activation_cache=always", "execution.activation_dtype=bf16"), (100 + 50 + 10) * 100 * 2),
        # Views that are drawn anew cannot be kept; validation and test see none.
        (("execution.activation_cache=always", "finetune.augmentation=flip"), (50 + 10) * 100 * 4),
        (
            ("execution.activation_cache=always", "finetune.augmentation=flip", "finetune.augment_views=3"),
            (3 * 100 + 50 + 10) * 100 * 4,
        ),
    ],
)
def test_what_is_asked_for_decides_what_is_stored(overrides: tuple[str, ...], stored: int | None) -> None:
    study = plan(sweep(*overrides), flops_per_s=1e18).studies[0]
    if stored is None:
        assert study.boundaries == ()
        assert (study.saved_flops, study.moving_s, study.cached_bytes_max) == (0, 0, 0)
    else:
        assert boundary_of(study, 1).stored_bytes == stored
        assert study.saved_flops == 0 or stored


@pytest.mark.usefixtures("facts")
def test_the_cache_is_said_with_its_limit_and_that_it_is_an_estimate() -> None:
    slow = plan(sweep(), flops_per_s=SLOW)
    table = " ".join(render_plan(slow, 1e6).split())
    # Behind three blocks there are 10 features of 160 samples, behind one 100 elements.
    assert "a:timm/known: behind 1-3 blocks, 6.4kB to 64kB each" in table
    assert "the worker decides by costs it measures" in table
    assert "at most 205kB of the 1MB it may hold." in table
    assert "ORCHESTRATOR_CACHE_MAX_GIB" in render_plan(slow, 1e5)
    fast = " ".join(render_plan(plan(sweep(), flops_per_s=1e18), 1e6).split())
    assert "a:timm/known: nothing behind 1-3 blocks, as computing is cheaper" in fast
    assert "cache: nothing is kept." in render_plan(plan(sweep(OFF)), 1e6)


# --- a race


@pytest.mark.usefixtures("facts")
def test_a_race_is_expected_to_take_less_than_the_most_it_may() -> None:
    race = ("budget.allocation=race", "budget.random_trials=5", "budget.trials=40")
    planned, equal = plan(sweep(*race)), plan(sweep(*race[1:]))
    assert planned.epochs_max == equal.epochs_max == 2 * 43 * 9
    # Five random, twelve more and three confirmations, none of them stopped.
    assert planned.epochs_expected == 2 * (5 + 12 + 3) * 9
    assert "A race" in render_plan(planned)
    assert json.loads(json.dumps(plan_to_dict(planned)))["allocation"] == "race"
