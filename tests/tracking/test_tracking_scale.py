"""What a run costs MLflow's writer does not grow with the runs before it: calls and memory, on a made-up client."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from made_sweep import MadeSweep, as_started

from orchestrator.tracking.backlog import Backlog, Epoch, Finished, Started
from orchestrator.tracking.store import Store
from orchestrator.tracking.task_runs import TaskRuns
from orchestrator.tracking.writer import SweepWriter


class Client:
    """Takes everything; counts calls and what is sent; gives back the runs it was told of."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.runs: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            self.calls[name] += 1
            return getattr(self, f"_{name}", lambda *_, **__: None)(*args, **named)

        if name.startswith("_"):
            raise AttributeError(name)
        return call

    def _get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="1", tags={}, lifecycle_stage="active")

    def _create_run(self, experiment: str, *, start_time: int, tags: dict[str, str], run_name: str) -> Any:
        info = SimpleNamespace(
            run_id=str(len(self.runs)), experiment_id=experiment, start_time=start_time, status="RUNNING"
        )
        data = SimpleNamespace(tags=dict(tags), params={}, metrics={})
        self.runs[info.run_id] = SimpleNamespace(info=info, data=data, inputs=None)
        return self.runs[info.run_id]

    def _set_terminated(self, run_id: str, *, status: str, end_time: int) -> None:
        self.runs[run_id].info.status = status

    def _log_batch(self, run_id: str, *, metrics: list[Any], params: list[Any], tags: list[Any]) -> None:
        self.calls["values"] += len(metrics) + len(params) + len(tags)
        data = self.runs[run_id].data
        data.tags |= {tag.key: tag.value for tag in tags}
        data.params |= {param.key: param.value for param in params}
        data.metrics |= {metric.key: metric.value for metric in metrics}

    def _log_inputs(self, run_id: str, *, datasets: list[Any]) -> None:
        self.runs[run_id].inputs = SimpleNamespace(dataset_inputs=list(datasets))

    def _list_artifacts(self, run_id: str, path: str) -> list[Any]:
        return []

    def _get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return []

    def _search_runs(self, experiments: list[str], **named: Any) -> Any:
        class Page(list[Any]):
            token = None

        return Page(self.runs.values())


def live_writer(sweep: MadeSweep) -> tuple[SweepWriter, Client]:
    import mlflow.entities

    client = Client()
    store = Store("sqlite:///nowhere.db")
    store._client, store._entities = client, mlflow.entities
    writer = SweepWriter(sweep.info, store, live=True)
    writer.open()
    backlog = Backlog()
    backlog.add(sweep.dataset)
    writer.write(backlog)
    return writer, client


def write_runs(writer: SweepWriter, sweep: MadeSweep, numbers: range) -> None:
    """A start, epochs and an end at a time, as a batch of the tracker's carries them."""
    epochs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in sweep.epochs():
        epochs.setdefault((row["study"], row["number"]), []).append(row)
    for trial in sweep.trials():
        if trial["number"] in numbers:
            backlog = Backlog()
            backlog.add(Started(as_started(trial)))
            for row in epochs[trial["study"], trial["number"]]:
                backlog.add(Epoch(row))
            backlog.add(Finished(trial, None))
            writer.write(backlog)


def task_of(writer: SweepWriter) -> TaskRuns:
    return writer._tasks["digits"]


def test_a_run_costs_four_calls_early_and_late() -> None:
    sweep = MadeSweep(num_trials=300)
    writer, client = live_writer(sweep)
    costs = []
    for numbers in (range(4, 24), range(24, 244), range(244, 264)):
        before = Counter(client.calls)
        write_runs(writer, sweep, numbers)
        costs.append(client.calls - before)
    early, _, late = costs
    assert early == late
    per_run = {name: count / (20 * len(sweep.backbones)) for name, count in late.items() if name != "values"}
    assert per_run == {"create_run": 1, "log_inputs": 1, "log_batch": 1, "set_terminated": 1}


def test_runs_that_ended_leave_no_details_behind() -> None:
    sweep = MadeSweep(num_trials=50)
    writer, _ = live_writer(sweep)
    write_runs(writer, sweep, range(50))
    ended = [run for run in task_of(writer).runs.values() if run is not task_of(writer).parent]
    assert len(ended) == 50 * len(sweep.backbones)
    assert {run.status for run in ended} == {"FINISHED", "FAILED"}
    assert not any(run.params or run.tags or run.points or run.unread for run in ended)
    writer.finish("FINISHED", Backlog())
    assert not any(run.params or run.tags or run.points or run.unread for run in task_of(writer).runs.values())


def test_a_run_told_again_is_looked_up_and_nothing_is_sent_twice() -> None:
    sweep = MadeSweep(num_trials=6)
    writer, client = live_writer(sweep)
    write_runs(writer, sweep, range(6))
    held = {name: (run.data.tags.copy(), run.data.params.copy()) for name, run in client.runs.items()}
    before = Counter(client.calls)
    trial = next(row for row in sweep.trials() if row["number"] == 5)
    backlog = Backlog()
    backlog.add(Finished(trial, None))
    writer.write(backlog)
    again = client.calls - before
    assert again["search_runs"] == 1
    assert not {"create_run", "log_inputs", "log_batch", "set_terminated"} & set(again)
    assert held == {name: (run.data.tags, run.data.params) for name, run in client.runs.items()}
