"""Shares of a GPU: from measured bytes, for any run that a study may draw."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twin import small_config

from orchestrator.cluster import connection as cluster
from orchestrator.config import Resources
from orchestrator.workers.packing import MARGIN, SHARES, Demand, probed_configs, share
from trainables.config import FinetuneConfig

GIB = 2**30


def run(start: int = 0, batch_size: int = 32, **options: Any) -> FinetuneConfig:
    return FinetuneConfig(backbone="timm/resnet18", freeze_depth=start, batch_size=batch_size, **options)


@pytest.mark.parametrize(
    ("gib", "expected"), [(1, 1 / 8), (8.6, 1 / 8), (8.8, 1 / 4), (17, 1 / 4), (30, 1 / 2), (40, 1), (80, 1), (200, 1)]
)
def test_the_share_of_a_gpu_of_80_gib(gib: float, expected: float) -> None:
    assert share(int(gib * GIB), 80 * GIB) == expected


@given(st.integers(1, 200 * GIB), st.integers(GIB, 200 * GIB))
def test_as_many_as_share_a_gpu_fit_on_it(num_bytes: int, total: int) -> None:
    part = share(num_bytes, total)
    assert part in (*SHARES, 1)
    if part < 1:
        assert MARGIN * num_bytes / part <= total
    assert part == SHARES[0] or MARGIN * num_bytes > total * part / 2, "and not on less"


class TestDemand:
    demand = Demand(
        total_bytes=80 * GIB,
        peaks=((0, 64, 60 * GIB), (0, 16, 30 * GIB), (4, 64, 30 * GIB), (4, 16, 9 * GIB), (8, 64, 2 * GIB)),
    )

    @pytest.mark.parametrize(
        ("start", "batch_size", "expected"),
        [
            (0, 64, 1),
            (0, 17, 1),
            (0, 16, 1 / 2),
            (3, 16, 1 / 2),
            (4, 64, 1 / 2),
            (5, 8, 1 / 4),
            (8, 64, 1 / 8),
            (9, 1, 1 / 8),
            (8, 65, 1),  # larger than anything that was measured
        ],
    )
    def test_a_run_takes_no_more_than_a_larger_one(self, start: int, batch_size: int, expected: float) -> None:
        assert self.demand.gpus(run(start, batch_size)) == expected

    def test_a_window_takes_no_more_than_everything_behind_its_start(self) -> None:
        assert self.demand.gpus(run(batch_size=64, tune_window=(4, 6))) == 1 / 2

    def test_the_smallest(self) -> None:
        assert self.demand.smallest_share == 1 / 8
        assert Demand(total_bytes=GIB, peaks=()).smallest_share == 1


class TestProbed:
    def test_the_shallowest_and_the_largest_are_measured(self) -> None:
        space = {"base": "default", "batch_size": {"choice": [64, 8, 16, 32]}, "optimizer": {"choice": ["sgd", "adam"]}}
        configs = probed_configs(small_config(space=space, finetune={}), "timm/resnet18", 18)
        assert {(c.freeze_depth, c.batch_size) for c in configs} >= {(0, 64), (0, 8), (18, 64), (18, 8)}
        assert len(configs) <= 12
        assert {c.optimizer for c in configs} == {"adam"}, "the dearer of what is searched"

    def test_windows_are_measured_by_where_they_start(self) -> None:
        space = {"tune_window": {"parts": 3}, "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}
        configs = probed_configs(small_config(space=space), "timm/resnet18", 18)
        assert sorted({c.freeze_depth for c in configs})[0] == 0
        assert {c.tune_window for c in configs} == {None}
        assert {c.batch_size for c in configs} == {40}, "which is fixed"

    def test_any_run_that_a_study_draws_is_bounded(self) -> None:
        config = small_config()
        measured = probed_configs(config, "timm/resnet18", 18)
        demand = Demand(total_bytes=80 * GIB, peaks=tuple((c.freeze_depth, c.batch_size, GIB) for c in measured))
        for start, _ in config.space.windows(18):
            assert demand.gpus(run(start, 40)) == 1 / 8


def test_slots_count_the_smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 12.0, "GPU": 2.0}}])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 2.0})
    assert cluster.slots(Resources()) == 2
    assert cluster.slots(Resources(), 1 / 4) == 8
    assert cluster.slots(Resources(), 1 / 8) == 12, "as many as there are CPUs for"
    assert cluster.slots(Resources(max_concurrent=3), 1 / 8) == 3


def test_without_a_gpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from orchestrator.planning.plan import plan

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    config = small_config()
    assert cluster.measure_demands(config, plan(config), [18, 18]) == {}
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 4.0})
    asked = small_config(resources={"gpus_per_trial": 0.5})
    assert cluster.measure_demands(asked, plan(asked), [18, 18]) == {}, "what a person asks for is not measured"
    [bundle] = cluster.trial_resources(asked.resources, {})({"study": "any"}).bundles
    assert bundle == {"CPU": 1, "GPU": 0.5}
