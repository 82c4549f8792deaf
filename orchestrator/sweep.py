"""Run a sweep: one Tuner over all studies, then the ranking."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from orchestrator.cluster.capacity import Patience, Slots
from orchestrator.cluster.connection import connect, measure_demands, need, screen_studies, slots, trial_resources
from orchestrator.cluster.preflight import Newcomers, check_nodes
from orchestrator.cluster.use import Use
from orchestrator.config import SweepConfig
from orchestrator.disk import require_space, sweep_bytes
from orchestrator.errors import EnvironmentUnusable, UsageError
from orchestrator.folder import SweepFolder
from orchestrator.planning.plan import Plan
from orchestrator.recorder import Listener, Recorder
from orchestrator.study_facts import StudyFacts
from orchestrator.watcher import Watcher
from orchestrator.workers.packing import Demand

__all__ = ["StudyFacts", "run_studies", "run_sweep"]

_MOST_TRIALS: Final = 10_000
"""At a time, where the searcher itself keeps to a limit that changes."""

_WRITTEN: Final = "the checkpoints of the trials that run at a time, and the networks that are kept,"


def run_sweep(
    config: SweepConfig,
    plan: Plan,
    folder: SweepFolder,
    *,
    address: str | None,
    insecure: bool = False,
    listeners: Sequence[Listener],
    on_facts: Callable[[list[StudyFacts]], None],
    watcher: Watcher | None = None,
    checks: Sequence[Callable[[], None]] = (),
    say: Callable[[str], None] = print,
) -> None:
    """Run every trial and confirmation of `plan` that has not ended; results are in the folder's tables.

    Args:
        address: of a Ray cluster; None starts a local Ray.
        insecure: whether a cluster may be one that lets anybody in.
        on_facts: called once with every study's facts, before the first trial.
        watcher: is told of slots and races.
        checks: each is asked ten times a second, and raises where the sweep must not go on.
        say: is given sentences for the user.

    Raises:
        EnvironmentUnusable: Ray, weights, data or resources are missing. Nothing has been trained.
        UsageError: a backbone that nobody knows, or what one cannot do. Nothing has been trained either.
        KeyboardInterrupt: Ctrl-C. What had finished is recorded.
    """
    watcher = watcher or Watcher()
    with ThreadPoolExecutor(max_workers=1) as pool:
        # Locally the driver's machine is where trials run: it looks while Ray starts, which is idle time.
        inspection = pool.submit(_inspect_here, config, plan) if address is None else None
        with connect(address, insecure=insecure, say=say):
            from orchestrator.interrupt import heed_again  # loads Ray, which is there by now

            heed_again()
            least = slots(config.resources)  # or nothing fits at all, which is told before anybody waits for data
            if address is not None:
                check_nodes(config, folder.path, need(config.resources), say)
            facts = _checked(plan, inspection.result() if inspection else _inspect_there(config, plan, say))
            require_space(folder.path, sweep_bytes(facts, config.confirmation, least), _WRITTEN)
            on_facts(facts)
            if config.screen and not folder.screen.read().num_rows:
                rows, notes = screen_studies(config, plan)
                folder.screen.append_all(rows)
                for note in notes:
                    say(note)
            demands = measure_demands(config, plan, [study.num_blocks for study in facts])
            smallest = min((d.smallest_share for d in demands.values()), default=None)
            num_slots = slots(config.resources, smallest)
            wanted = need(config.resources, smallest)
            require_space(folder.path, sweep_bytes(facts, config.confirmation, num_slots), _WRITTEN)
            watcher.slots(num_slots)
            recorder = Recorder(folder, listeners)
            run_studies(
                config,
                plan,
                folder,
                facts,
                num_slots=num_slots,
                recorder=recorder,
                demands=demands,
                watcher=watcher,
                checks=checks,
                limit=None if address is None else Slots(config.resources, wanted, watcher.slots),
                say=say,
            )


def _inspect_here(config: SweepConfig, plan: Plan) -> list[dict[str, Any]]:
    """Build every backbone and read all data once, in this process."""
    from orchestrator.workers.inspection import forget, inspect_study

    try:
        return [inspect_study(config, study.task, study.backbone.name) for study in plan.studies]
    finally:
        forget()  # the driver lives as long as the sweep, and has no more use for them


def _inspect_there(config: SweepConfig, plan: Plan, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The same on the cluster's nodes."""
    import ray

    from orchestrator.workers.inspection import inspect_study

    task = ray.remote(num_cpus=config.resources.cpus_per_trial)(inspect_study)
    patience = Patience(need(config.resources, 0), say)
    return patience.get([task.remote(config, study.task, study.backbone.name) for study in plan.studies])


def _checked(plan: Plan, found: list[dict[str, Any]]) -> list[StudyFacts]:
    wrong = {answer["error"]: answer["usage"] for answer in found if "error" in answer}
    if wrong:
        kind = UsageError if all(wrong.values()) else EnvironmentUnusable
        raise kind("\n".join(sorted(wrong)))
    return [StudyFacts(study=study.key, **answer) for study, answer in zip(plan.studies, found, strict=True)]


def run_studies(
    config: SweepConfig,
    plan: Plan,
    folder: SweepFolder,
    facts: Sequence[StudyFacts],
    *,
    num_slots: int,
    recorder: Recorder,
    worker: type[Any] | None = None,
    reuse_actors: bool = True,
    demands: Mapping[str, Demand] | None = None,
    watcher: Watcher | None = None,
    checks: Sequence[Callable[[], None]] = (),
    limit: Callable[[], int] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Run every study of `plan` behind one Tuner, on the Ray that is connected.

    What the folder's records hold already is not run again: it goes on where they end.

    Args:
        facts: one per study, in the plan's order.
        num_slots: trials at a time.
        worker: the Tune trainable; None is `FinetuneWorker`.
        reuse_actors: whether a worker process takes one trial after another.
        demands: what the runs of a study take of a GPU; of one that is not named, what the configuration says.
        limit: trials at a time as nodes come and go; None is `num_slots` throughout.
        watcher, checks, say: as `run_sweep` takes them.

    Raises:
        EnvironmentUnusable: the ledger is damaged, or the folder can no longer be written; what was recorded
            stays readable.
    """
    import optuna
    from ray import tune
    from threadpoolctl import threadpool_limits

    from orchestrator.forgetting import ForgetEnded
    from orchestrator.interrupt import SafePoint, deferred_interrupts
    from orchestrator.restoring import take_over
    from orchestrator.searching.allocators import make_allocator
    from orchestrator.searching.ledger import open_ledger, require_known
    from orchestrator.searching.scheduling import StudyScheduler
    from orchestrator.searching.searcher import StudySearcher
    from orchestrator.searching.study import Study

    watcher = watcher or Watcher()
    if worker is None:
        from orchestrator.workers.worker import FinetuneWorker as worker  # noqa: N813 - torch is loaded for it alone

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # It logs the traceback of every failed trial, which is in the trial's record and in `runs/`.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    storage = open_ledger(folder.ledger_file, is_new=len(folder.attempts.read()) == 0)
    require_known(storage, folder, [study.key for study in plan.studies])
    studies = [
        Study(
            study_plan,
            index=index,
            num_blocks=study_facts.num_blocks,
            config=config,
            folder=folder,
            storage=storage,
            trials=folder.trials.read,
            num_slots=num_slots,
        )
        for index, (study_plan, study_facts) in enumerate(zip(plan.studies, facts, strict=True))
    ]
    scheduler = StudyScheduler(tuple(study.key for study in studies), config.budget)
    take_over(folder, studies, recorder, scheduler.replay)
    searcher = StudySearcher(
        studies,
        recorder,
        make_allocator(config, studies, folder.trials.read, watcher.raced),
        max_retries=config.resources.max_retries,
        missed=scheduler.replay,
        limit=limit,
        say=say,
    )
    point = SafePoint(*checks)
    tuner = tune.Tuner(
        tune.with_resources(worker, trial_resources(config.resources, demands or {})),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            # Without it Tune keeps one pending trial behind any custom searcher, and slots stand idle.
            max_concurrent_trials=num_slots if limit is None else _MOST_TRIALS,
            reuse_actors=reuse_actors,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder.path),
            verbose=0,
            callbacks=[
                point,
                ForgetEnded(),
                *([] if limit is None else [_watch(config, folder, watcher, say)]),
            ],
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    try:
        # BLAS with a thread per core would fight the trials for them: twentyfold the time for the same sums.
        with deferred_interrupts(), threadpool_limits(1, user_api="blas"):
            tuner.fit()
    except Exception:
        if point.failure is not None:
            raise point.failure from None
        if isinstance(searcher.failure, OSError):
            raise EnvironmentUnusable(
                f"the sweep's records in {folder.path} must be writable: {searcher.failure.strerror}; "
                "nothing that had been recorded is lost"
            ) from searcher.failure
        raise


def _watch(config: SweepConfig, folder: SweepFolder, watcher: Watcher, say: Callable[[str], None]) -> Any:
    from orchestrator.cluster.waiting import Waiting

    wanted = need(config.resources)
    return Waiting(Patience(wanted, say), Newcomers(config, folder.path, wanted, say).look, Use(watcher).look)


def _trial_name(trial: Any) -> str:
    """Study and number: Tune makes a folder of it, so it must be no other trial's."""
    return Path(trial.config["test_file"]).stem
