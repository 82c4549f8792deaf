"""The weights and the data that a sweep names: are they here, or to be had?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestrator.doctor.finding import Finding, broken, ok, skipped
from orchestrator.doctor.subject import Subject

__all__ = ["data", "weights"]


def weights(subject: Subject) -> Iterator[Finding]:
    """Of every backbone of the sweep."""
    from orchestrator.availability import is_cached, unobtainable
    from trainables.catalog import lookup

    sweep = subject.sweep
    if sweep is None:
        yield skipped("weights", "no sweep file was named")
        return
    specs = {name: lookup(name) for name in sweep.backbones}
    absent = {name: why for name, spec in specs.items() if (why := unobtainable(spec))}
    for name, why in absent.items():
        yield broken("weights", f"{name}: {why}", _fix(why))
    here = sum(is_cached(spec) is True for spec in specs.values())
    fetched = [name for name, spec in specs.items() if is_cached(spec) is False and name not in absent]
    if not absent:
        later = f", {len(fetched)} are fetched on first use: {', '.join(fetched[:3])}" if fetched else ""
        yield ok("weights", f"{here} of {len(specs)} backbones have theirs on this machine{later}")


def _fix(why: str) -> str:
    needs = "needs: "
    if why.startswith(needs):
        return why.removeprefix(needs)
    return "fetch them once on a machine with network and bring the cache folder along, or use '@random'"


def data(subject: Subject) -> Iterator[Finding]:
    """Of every task of the sweep: opened, where that fetches nothing."""
    from trainables.data.source import open_source
    from trainables.errors import TrainableError

    sweep = subject.sweep
    if sweep is None:
        yield skipped("data", "no sweep file was named")
        return
    for task in sweep.tasks:
        places = [place for place in (task.data, task.val_data, task.test_data) if place]
        fetched = [place for place in places if _may_be_fetched(place)]
        if fetched:
            yield skipped(f"data {task.name}", f"{', '.join(fetched)} is looked for, or fetched, when the sweep starts")
            continue
        try:
            source = open_source(task)
        except TrainableError as error:
            yield broken(f"data {task.name}", str(error), "set tasks[].data to where they are")
        else:
            yield ok(f"data {task.name}", f"{task.data}: {len(source.names)} samples")


def _may_be_fetched(place: str) -> bool:
    folder = place.removeprefix("hf/")
    return place.startswith(("torchvision/", "hf/")) and not Path(folder).is_absolute()
