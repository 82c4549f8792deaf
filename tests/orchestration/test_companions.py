"""A study knows which of its probes can be trained together before it hands the first of them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from twin import NUM_BLOCKS, Twin, small_config

from orchestrator.companions import WINDOW, RandomSlice, companions
from orchestrator.folder import SweepFolder
from orchestrator.planning.plan import plan
from orchestrator.records import TRIALS
from orchestrator.searching.study import Study
from orchestrator.workers.request import RunRequest
from trainables.config import FinetuneConfig
from trainables.probe_group import MAX_TOGETHER, MIN_TOGETHER

PROBE = FinetuneConfig(backbone="any", freeze_depth=NUM_BLOCKS)


def numbered(num: int, **changes: Any) -> list[FinetuneConfig]:
    return [replace(PROBE, seed=seed, **changes) for seed in range(num)]


def in_memory(folder: Path, num_slots: int = 1, **changes: Any) -> Study:
    config = small_config(**changes)
    return Study(
        plan(config).studies[0],
        index=0,
        num_blocks=NUM_BLOCKS,
        config=config,
        folder=SweepFolder(folder),
        storage=InMemoryStorage(),
        trials=TRIALS.empty_table,
        num_slots=num_slots,
    )


class TestCompanions:
    def test_probes_of_one_group_are_each_others(self) -> None:
        probes, slow = numbered(3), numbered(2, batch_size=7)
        others = [replace(PROBE, freeze_depth=2, seed=9), replace(PROBE, augmentation="flip", seed=9)]
        found = companions([slow[0], *probes[:2], *others, slow[1], probes[2]], NUM_BLOCKS)
        assert found == {**dict.fromkeys(probes, tuple(probes)), **dict.fromkeys(slow, tuple(slow))}

    def test_a_single_probe_has_none(self) -> None:
        assert companions([PROBE, replace(PROBE, optimizer="sgd")], NUM_BLOCKS) == {}

    def test_a_group_that_is_too_small_is_trained_one_by_one(self) -> None:
        probes = numbered(7)
        assert companions(probes, NUM_BLOCKS, at_least=8) == {}
        assert companions(probes, NUM_BLOCKS, at_least=7)[probes[0]] == tuple(probes)

    def test_groups_are_bounded(self) -> None:
        probes = numbered(2 * MAX_TOGETHER + 1)
        found = companions(probes, NUM_BLOCKS)
        assert found[probes[0]] == tuple(probes[:MAX_TOGETHER])
        assert found[probes[MAX_TOGETHER]] == tuple(probes[MAX_TOGETHER : 2 * MAX_TOGETHER])
        assert probes[-1] not in found, "it would be alone"


class TestRandomSlice:
    @pytest.fixture
    def drawn(self) -> list[int]:
        return []

    @pytest.fixture
    def draw(self, drawn: list[int]) -> Callable[[int], FinetuneConfig]:
        def draw(number: int) -> FinetuneConfig:
            drawn.append(number)
            return replace(PROBE, seed=number, freeze_depth=NUM_BLOCKS if number % 100 == 1 else 0)

        return draw

    def test_it_looks_ahead_once_per_window_and_only_for_a_probe(
        self, draw: Callable[[int], FinetuneConfig], drawn: list[int]
    ) -> None:
        random = RandomSlice(draw, WINDOW + 150, NUM_BLOCKS)
        configs = [draw(number) for number in range(WINDOW + 150)]
        drawn.clear()
        assert random.companions(0, configs[0]) == ()
        assert drawn == [], "what is no probe costs nothing"
        assert random.companions(1, configs[1]) == (configs[1], configs[101], configs[201])
        assert random.companions(101, configs[101]) == (configs[1], configs[101], configs[201])
        assert drawn == list(range(WINDOW))
        assert random.companions(301, configs[301]) == (configs[301], configs[401])
        assert drawn == list(range(WINDOW + 150)), "not beyond the slice"


class TestStudy:
    SPACE: dict[str, Any] = {"base": "default", "freeze_depth": {"choice": [3, NUM_BLOCKS]}}  # noqa: RUF012

    def test_companions_are_what_is_handed_out_later(self, tmp_path: Path) -> None:
        study = in_memory(tmp_path, budget__trials=34, budget__random_trials=30, space=self.SPACE)
        handed = [study.next() for _ in range(34)]
        requests = [request for request in handed if request is not None]
        assert len(requests) == 34
        probes = tuple(r.config for r in requests[:30] if r.config.freeze_depth == NUM_BLOCKS)
        assert MIN_TOGETHER <= len(probes) < 30
        for request in requests:
            is_known = request.phase == "random" and request.config.freeze_depth == NUM_BLOCKS
            assert request.companions == (probes if is_known else ())

    def test_looking_ahead_changes_no_draw(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        changes: dict[str, Any] = {"budget__trials": 34, "budget__random_trials": 26, "space": self.SPACE}
        ahead = [study.next() for study in [in_memory(tmp_path, **changes)] for _ in range(34)]
        monkeypatch.setattr(RandomSlice, "companions", lambda *_: ())
        plain = [study.next() for study in [in_memory(tmp_path, **changes)] for _ in range(34)]
        assert [r and r.config for r in ahead] == [r and r.config for r in plain]
        assert any(r and r.companions for r in ahead)
        assert not any(r and r.companions for r in plain)

    def test_every_slot_asks_for_more_of_them(self, tmp_path: Path) -> None:
        changes: dict[str, Any] = {"budget__trials": 34, "budget__random_trials": 34, "space": self.SPACE}
        for num_slots, together in ((1, True), (2, True), (3, False)):
            study = in_memory(tmp_path, num_slots=num_slots, **changes)
            requests = [study.next() for _ in range(34)]
            assert any(r and r.companions for r in requests) == together

    def test_what_follows_the_search_is_trained_alone(self, tmp_path: Path) -> None:
        """Probes as well: what is evaluated is a whole network."""
        budget = {"budget__trials": 8, "budget__random_trials": 8}
        seeds = {"confirmation__seeds": MIN_TOGETHER, "confirmation__train_fracs": [0.5]}
        twin = Twin(small_config(**budget, **seeds, space=self.SPACE), tmp_path)
        runs = twin.run(lambda request, epoch: 0.9 if request.config.freeze_depth == NUM_BLOCKS else 0.5)
        following = [r for r in runs if r.phase in ("confirmation", "reduced")]
        assert len(following) == 2 * 2 * MIN_TOGETHER
        assert {r.config.freeze_depth for r in following} == {NUM_BLOCKS}
        assert {r.companions for r in following} == {()}


def test_they_travel(tmp_path: Path) -> None:
    study = in_memory(tmp_path, budget__trials=24, budget__random_trials=24, space=TestStudy.SPACE)
    for _ in range(24):
        request = study.next()
        assert request is not None
        sent = request.to_tune()
        assert RunRequest.from_tune(sent) == request
        assert isinstance(sent["companions"], str)
