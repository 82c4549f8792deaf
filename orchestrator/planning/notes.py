"""What a configuration may ask for, but is worth a second thought."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.config import SweepConfig

__all__ = ["notes"]


def notes(config: SweepConfig) -> Iterable[str]:
    """A sentence each."""
    gpus = config.resources.gpus_per_trial
    if isinstance(gpus, float) and 0 < gpus < 1 and round(1 % gpus, 6) not in (0, round(gpus, 6)):
        fits = int(1 / gpus)
        yield (
            f"gpus_per_trial {gpus:g}: {fits} trials fit one GPU and leave {1 - fits * gpus:.0%} of it idle; "
            f"{1 / fits:.4g} would use all of it"
        )
    if config.confirmation.seeds < 3:
        yield f"confirmation.seeds {config.confirmation.seeds}: too few for an interval; 3 or more give one"
    yield from _small_shares(config)
    if config.budget.random_trials == 0:
        yield "budget.random_trials 0: no random trials, so no tuning curve can be estimated"
    if config.finetune.batch_size == 1 and "batch_size" not in config.space.names:
        yield "finetune.batch_size 1: layers that normalise over the batch cannot train on one sample"


def _small_shares(config: SweepConfig) -> Iterable[str]:
    size = config.finetune.batch_size
    for task in config.tasks if config.confirmation.train_fracs and "batch_size" not in config.space.names else ():
        frac = min(config.confirmation.train_fracs)
        num = None if task.num_train is None else round(task.num_train * task.train_frac * frac)
        if num is not None and num < size:
            yield (
                f"confirmation.train_fracs {frac:g}: {num} training samples of {task.name} are less than one batch of "
                f"{size}, so that an epoch there is a single step"
            )
