"""What a writer does again and what it does not: after an outage, a refusal, a resume. On a made-up client."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_sweep import BACKBONES, START, MadeSweep, as_started
from test_tracking_scale import Client, live_writer, write_runs

from orchestrator.conduct import _status
from orchestrator.evaluated import Evaluated
from orchestrator.folder import SweepFolder
from orchestrator.lease import lease
from orchestrator.tracking import Recorded
from orchestrator.tracking.backlog import Backlog, Epoch, Finished, Published, RunKey, Started
from orchestrator.tracking.failure import ConflictError, RefusedError, UnavailableError, calling
from orchestrator.tracking.naming import changed_params, parent_params, run_params
from orchestrator.tracking.pictures import log_pictures, show_pictures
from orchestrator.tracking.store import Store, StoredRun
from orchestrator.tracking.writer import SweepWriter

SWEEP = MadeSweep(num_trials=3, num_confirmations=0)


class FailingClient(Client):
    """Fails in calls of one name: `before` they are carried out, or after, when their answer is lost."""

    def __init__(self, name: str, error: Exception, *, after: bool, times: int = 1) -> None:
        super().__init__()
        self._failing, self._error, self._after, self._times = name, error, after, times

    def __getattr__(self, name: str) -> Any:
        call = super().__getattr__(name)

        def failing(*args: Any, **named: Any) -> Any:
            fails = name == self._failing and self._times > 0
            self._times -= fails
            if fails and not self._after:
                raise self._error
            answer = call(*args, **named)
            if fails:
                raise self._error
            return answer

        return failing


def writer_on(client: Client, sweep: MadeSweep = SWEEP) -> SweepWriter:
    import mlflow.entities

    store = Store("http://127.0.0.1:1")
    store._client, store._entities = client, mlflow.entities
    return SweepWriter(sweep.info, store, live=True)


def refused(text: str = "no such thing") -> Exception:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import BAD_REQUEST

    return MlflowException(text, error_code=BAD_REQUEST)


def test_a_configuration_whose_answer_was_lost_is_no_complaint() -> None:
    class Lossy(Client):
        lost = False

        def _log_batch(self, run_id: str, *, metrics: list[Any], params: list[Any], tags: list[Any]) -> None:
            super()._log_batch(run_id, metrics=metrics, params=params, tags=tags)
            if not self.lost and any(tag.key == "orchestrator.config" for tag in tags):
                self.lost = True
                raise ConnectionResetError("the answer was lost")

    client = Lossy()
    writer = writer_on(client)
    writer.open()
    assert writer.complaint is not None, "for all one knows it is not there"
    writer.forget()
    writer.open()
    assert writer.complaint is None
    assert client.calls["log_text"] == 1


def test_what_was_refused_is_tried_again_with_what_comes_next_and_loses_no_epoch() -> None:
    client = FailingClient("log_batch", refused(), after=False, times=0)
    writer = writer_on(client)
    writer.open()
    trial, epochs = SWEEP.trials()[0], SWEEP.epochs()[:3]
    sent: list[int] = []
    client._log_batch = lambda run_id, *, metrics, params, tags: sent.extend(m.step for m in metrics)  # type: ignore[method-assign]
    for events, times in (([Started(as_started(trial)), Epoch(epochs[0])], 1), ([Epoch(epochs[1])], 0)):
        client._times = times
        backlog = Backlog()
        for event in events:
            backlog.add(event)
        writer.write(backlog)
        assert not backlog
        assert (writer.complaint is None) == (times == 0)
    assert set(sent) == {1, 2}


def test_what_is_refused_to_the_end_is_tried_there_once_more() -> None:
    client = FailingClient("log_inputs", refused(), after=False)
    writer = writer_on(client)
    writer.open()
    backlog = Backlog()
    backlog.add(SWEEP.dataset)
    writer.write(backlog)
    assert "data of digits" in str(writer.complaint)
    writer.finish("FINISHED", backlog)
    assert writer.complaint is None
    assert client.calls["log_inputs"] == 1, "the first one did not count"


def test_a_ranking_whose_file_was_refused_is_published_again_at_the_end(tmp_path: Path) -> None:
    writer, client = live_writer(SWEEP)
    file = tmp_path / "report.html"
    backlog = Backlog()
    backlog.add(Published(ranking=SWEEP.ranking(), verdicts={}, files={"report.html": file}))
    writer.write(backlog)
    assert "report.html of digits" in str(writer.complaint) or client.calls["log_artifact"] == 1
    file.write_text("now it is there")
    writer.finish("FINISHED", backlog)
    assert writer.complaint is None


def test_more_refusals_than_are_kept_stay_a_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.tracking import writer as module

    monkeypatch.setattr(module, "_MAX_HELD", 1)
    client = FailingClient("log_batch", refused(), after=False, times=0)
    writer = writer_on(client)
    writer.open()
    for client._times, rows in ((2, SWEEP.trials()[:2]), (0, SWEEP.trials()[:2])):
        backlog = Backlog()
        for trial in rows:
            backlog.add(Finished(trial, None))
        writer.write(backlog)
    assert "1 records were refused" in str(writer.complaint), "what the second one had waiting is lost for good"


def test_catching_up_sends_nothing_that_is_there_and_all_that_is_not() -> None:
    writer, client = live_writer(SWEEP)
    write_runs(writer, SWEEP, range(2))
    before = Counter(client.calls)
    resumed = writer_on(client)
    resumed.open()
    backlog = Backlog()
    backlog.add(Recorded(**SWEEP.tables()))
    resumed.write(backlog)
    sent = client.calls - before
    missing = len(BACKBONES)  # the third trial of each
    assert (sent["create_run"], sent["set_terminated"]) == (missing, missing)
    assert len(resumed.written) == 3 * len(BACKBONES)
    assert not backlog


def test_a_run_that_starts_again_is_opened_again_and_counts_its_attempts() -> None:
    writer, client = live_writer(SWEEP)
    trial = SWEEP.trials()[0]
    for attempt, cause in ((1, None), (2, "killed s3://me:hunter2@h")):
        backlog = Backlog()
        backlog.add(Started(as_started(trial) | {"attempt": attempt, "cause": cause}))
        writer.write(backlog)
        [run] = [run for run in client.runs.values() if run.data.tags["orchestrator.role"] == "trial"]
        assert run.data.tags["orchestrator.attempts"] == str(attempt)
        assert ("orchestrator.cause" in run.data.tags) == (cause is not None)
        run.info.status = "KILLED"
        writer.forget()
        writer.open()
    assert "hunter2" not in str(run.data.tags)
    assert client.calls["update_run"] >= 1


def test_an_extension_is_named_and_changes_no_parameter() -> None:
    writer, client = live_writer(SWEEP)
    extended = replace(SWEEP.info, facts={**SWEEP.info.facts, "budget.trials": 16}, config_yaml="name: more\n")
    again = SweepWriter(extended, writer._store, live=True)
    again.open()
    [parent] = [run for run in client.runs.values() if run.data.tags["orchestrator.role"] == "sweep"]
    assert parent.data.params["budget.trials"] == "3"
    assert parent.data.tags["orchestrator.extended"] == "budget.trials 3 -> 16"
    assert client.calls["log_text"] == 2, "the new configuration takes the place of the old one"


def test_what_is_too_long_or_oddly_named_is_made_to_fit() -> None:
    from mlflow.utils.validation import _validate_param

    info = replace(SWEEP.info, facts={"search.*?": "x" * 7000, "budget.trials": 4})
    params = parent_params(info)
    assert set(params) == {"search.__", "budget.trials"}
    assert params["search.__"].endswith("... (7000 characters)")
    trial = as_started(SWEEP.trials()[0])
    odd = {**trial, "config": {**trial["config"], "what*?|": "y" * 6001}}
    for key, value in {**params, **run_params(odd, "short", None)}.items():
        _validate_param(key, value)
        assert len(value) <= 6000
    assert changed_params({"a": "1"}, {"a": "1", "b": "2"}) == ""


def test_two_writers_that_insert_the_same_are_told_from_a_refusal() -> None:
    clash = "(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.name"
    for text, kind in ((clash, ConflictError), ("(psycopg2.errors.UniqueViolation) x", ConflictError)):
        with pytest.raises(kind), calling(lambda: False):
            raise refused(text)
    with pytest.raises(RefusedError) as caught, calling(lambda: False):
        raise refused("name must not be empty")
    assert not isinstance(caught.value, ConflictError)
    client = FailingClient("set_experiment_tag", refused(clash), after=False)
    store = Store("http://127.0.0.1:1")
    store._client = client
    store._call("set_experiment_tag", "1", "key", "value")
    assert client.calls["set_experiment_tag"] == 1


def test_half_an_answer_and_a_broken_database_are_worth_another_try() -> None:
    import json

    from sqlalchemy.exc import OperationalError

    for error in (json.JSONDecodeError("x", "{", 0), OperationalError("x", {}, Exception("unable to open")), OSError()):
        with pytest.raises(UnavailableError), calling(lambda: False):
            raise error


def test_records_are_read_from_a_sweep_s_folder(tmp_path: Path) -> None:
    folder = SweepFolder.create(tmp_path, "quick", SWEEP.info.config_yaml)
    folder.trials.append_all(SWEEP.trials())
    folder.epochs.append_all(SWEEP.epochs())
    trial = SWEEP.trials()[0]
    attempt = {"study": trial["study"], "number": 0, "attempt": 2, "cause": "resumed", "started_at": START}
    folder.attempts.append(attempt)
    backlog = Backlog()
    backlog.add(Recorded.of(folder))
    backlog.unfold(lambda trial, evaluated: trial["number"] == 2)
    assert {key.number for key in backlog.runs} == {0, 1}
    update = backlog.runs[RunKey(trial["study"], 0)]
    assert (sorted(update.epochs), update.facts["cause"]) == ([1, 2, 3], "resumed")  # type: ignore[index]


def test_a_report_ends_runs_only_where_nobody_drives_the_sweep(tmp_path: Path) -> None:
    folder = SweepFolder.create(tmp_path, "quick", SWEEP.info.config_yaml)
    assert _status(folder) == "FINISHED", "of a sweep from before plans were kept nobody knows better"
    settings = {
        "budget.trials": 3,
        "budget.confirmations": 1,
        "budget.train_fracs": "none",
        "budget.allocation": "equal",
    }
    studies = [{"study": f"digits:{backbone}"} for backbone in BACKBONES]
    folder.write_facts({"settings": settings, "studies": studies, "backbones": list(BACKBONES), "tasks": ["digits"]})
    folder.trials.append_all(SWEEP.trials())
    assert _status(folder) == "KILLED", "its confirmations are missing"
    with lease(folder.lease_file):
        assert _status(folder) is None
    assert _status(folder) == "KILLED"


def published(writer: SweepWriter, **changes: Any) -> None:
    backlog = Backlog()
    backlog.add(Published(**{"ranking": SWEEP.ranking(), "verdicts": {"digits": "words"}, "files": {}, **changes}))
    writer.write(backlog)


def test_the_ranking_of_a_stopped_sweep_is_words_and_its_metrics_come_once_at_the_end() -> None:
    writer, client = live_writer(SWEEP)
    published(writer, is_interim=True, verdicts={"digits": "so far"})
    [parent] = client.runs.values()
    assert "so far" in parent.data.tags["mlflow.note.content"]
    assert parent.data.tags["orchestrator.ranking"] == "interim"
    assert not parent.data.metrics
    assert not writer.ranked, "its link leads to the trials"
    published(writer, ranking=SWEEP.ranking(0.9))
    roles = [run.data.tags["orchestrator.role"] for run in client.runs.values()]
    assert roles == ["sweep", "model", "model"]
    assert parent.data.tags["orchestrator.ranking"] == "final"
    assert parent.data.metrics["best/score"] == 0.9
    assert writer.ranked == {"digits"}
    again, calls = writer_on(client), client.calls["log_batch"]
    again.open()
    published(again, is_interim=True)
    assert again.ranked == {"digits"}, "an extended sweep that is stopped keeps the ranking that it had"
    assert client.calls["log_batch"] == calls + 1, "the words alone"


def test_confirmations_that_count_no_more_are_marked_and_those_that_count_again_are_not() -> None:
    sweep = MadeSweep(num_trials=1, num_confirmations=2)
    writer, client = live_writer(sweep)
    write_runs(writer, sweep, range(3))
    before = client.calls["search_runs"]
    published(writer)
    assert client.calls["search_runs"] == before, "where none is, nothing is looked up"

    def marks() -> dict[str, str]:
        tagged = {
            run.data.tags["orchestrator.trial_id"]: run.data.tags
            for run in client.runs.values()
            if "orchestrator.trial_id" in run.data.tags
        }
        return {
            name: tags["orchestrator.superseded"] for name, tags in tagged.items() if "orchestrator.superseded" in tags
        }

    study = f"digits:{BACKBONES[0]}"
    published(writer, superseded=frozenset({(study, 1)}))
    assert marks() == {f"{study}#1": "true"}
    published(writer, superseded=frozenset({(study, 2)}))
    assert marks() == {f"{study}#1": "false", f"{study}#2": "true"}
    published(writer)
    assert set(marks().values()) == {"false"}


def test_a_run_without_its_data_is_completed_by_the_next_driver() -> None:
    client = FailingClient("log_inputs", refused(), after=False, times=10**6)
    writer = writer_on(client)
    writer.open()
    backlog = Backlog()
    backlog.add(SWEEP.dataset)
    writer.write(backlog)
    write_runs(writer, SWEEP, range(1))
    assert "were refused" in str(writer.complaint)
    client._times = 0
    resumed = writer_on(client)
    resumed.open()
    backlog.add(SWEEP.dataset)
    backlog.add(Recorded(**SWEEP.tables()))
    resumed.write(backlog)
    assert resumed.complaint is None
    assert all(run.inputs is not None for run in client.runs.values())


def test_half_a_picture_is_put_there_again_and_a_whole_one_is_not(tmp_path: Path) -> None:
    store, logged = pictured("0+timestamp+5+u1.png", "0+timestamp+5+u1+compressed.webp", "1+timestamp+5+u2.png")
    log_pictures(store, RUN, evaluated(tmp_path), 7)
    assert sorted(logged) == [("explanation/samples", 1, 7), ("pictures/saliency", 0, 7)]


def test_a_backbone_shows_the_pictures_of_the_confirmation_that_stands_for_it(tmp_path: Path) -> None:
    store, logged = pictured()
    run = replace(RUN, tags={})
    one = evaluated(tmp_path)
    for whose, num in ((one, 3), (one, 3), (replace(one, number=one.number + 1), 6)):
        show_pictures(store, run, whose)
        assert len(logged) == num
        assert run.tags["orchestrator.pictures"] == str(whose.number)


@pytest.mark.parametrize(("name", "attempts"), [("00-00002.error.txt", 1), ("00-00002-3.hung.txt", 3)])
def test_the_traceback_of_a_failed_run_is_put_on_it_once_and_tells_no_secret(
    tmp_path: Path, name: str, attempts: int
) -> None:
    folder = SweepFolder.create(tmp_path, "quick", "")
    trial = next(row for row in SWEEP.trials() if row["state"] == "failed") | {"num_attempts": attempts}
    folder.write_facts({"studies": [{"study": trial["study"]}]})
    writer, client = live_writer(SWEEP)
    writer._info = replace(SWEEP.info, folder=folder.path)
    texts: list[tuple[str, str]] = []
    client._log_text = lambda run_id, text, path: texts.append((text, path))  # type: ignore[attr-defined]
    for expected in (0, 1, 1):
        backlog = Backlog()
        backlog.add(Finished(trial, None))
        writer.write(backlog)
        assert len(texts) == expected, "none before the worker's is there"
        (folder.path / "runs" / name).write_text("Traceback:\n  ...\nOSError: s3://me:hunter2@h is gone\n")
    assert texts == [("Traceback:\n  ...\nOSError: s3://***@h is gone\n", "error.txt")]
    assert writer.complaint is None


RUN = StoredRun(id="1", run_id="s/digits/b/4", experiment_id="1", status="RUNNING")


def evaluated(tmp_path: Path) -> Evaluated:
    return next(iter(MadeSweep(pictures=tmp_path / "pictures").evaluations().values()))


def pictured(*there: str) -> tuple[Store, list[tuple[str, int, int]]]:
    """A store that holds these of the slider ``explanation/samples``, and what is put there."""
    import mlflow.entities

    logged: list[tuple[str, int, int]] = []
    paths = [SimpleNamespace(path=f"images/explanation~samples+step+{name}") for name in there]
    store = Store("http://127.0.0.1:1")
    store._entities = mlflow.entities
    store._client = SimpleNamespace(
        list_artifacts=lambda run_id, path: paths,
        log_image=lambda run_id, image, *, key, step, timestamp, synchronous: logged.append((key, step, timestamp)),
        log_batch=lambda run_id, **sent: None,
    )
    return store, logged
