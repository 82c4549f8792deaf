"""Before a sweep on a cluster: is every node that trials may run on fit for them?

One that is not fails every trial it is given, or worse, trains with other code. All that is wrong is named at once,
node by node, with what is there, what is wanted and the fix.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.cluster import node_facts
from orchestrator.cluster.capacity import Need, fit
from orchestrator.cluster.node_facts import Question, look_around
from orchestrator.config import SweepConfig
from orchestrator.errors import EnvironmentUnusable, one_line

__all__ = ["Newcomers", "check_nodes", "compare"]

_DISTRIBUTIONS: Final = (
    *("orchestrator", "ray", "torch", "torchvision", "timm", "transformers", "safetensors", "numpy", "pyarrow"),
    *("scikit-learn", "scipy", "pillow"),
)
_ANSWER_WITHIN_S: Final = 120.0
_LOOK_EVERY_S: Final = 5.0
_SKEW_S: Final = 5.0
_LOCAL_HF: Final = "hf//"

Answer = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """A question that is on its way to a node."""

    node: str
    """``10.0.0.3``, as Ray knows it."""

    node_id: str
    reference: Any
    asked_at: float


def check_nodes(config: SweepConfig, storage: Path, wanted: Need, say: Callable[[str], None]) -> None:
    """Ask every node that is up and could hold a trial.

    Args:
        storage: a folder that exists here and that every node must see.
        wanted: what a trial holds; nodes without that many CPUs are not asked.
        say: is told of clocks that differ, which does no harm.

    Raises:
        EnvironmentUnusable: some nodes are not fit; all are named.
    """
    with _questioning(config, storage) as question:
        problems, notes = _judge([_ask(question, node) for node in _nodes(wanted)], question, _ANSWER_WITHIN_S)
    for note in notes:
        say(note)
    if problems:
        raise EnvironmentUnusable("every node that trials run on must be fit for them:\n" + "\n".join(problems))


class Newcomers:
    """Asks nodes that join while a sweep runs, and says what is wrong with them: a trial may go on elsewhere.

    Those that are up when it is made have been asked by `check_nodes`.
    """

    def __init__(self, config: SweepConfig, storage: Path, wanted: Need, say: Callable[[str], None]) -> None:
        self._config = config
        self._storage = storage
        self._wanted = wanted
        self._say = say
        self._known = {node["NodeID"] for node in _nodes(wanted)}
        self._looked = time.monotonic()

    def look(self) -> None:
        """To be called again and again. Nodes answer in their own time: it does not wait for them."""
        if time.monotonic() - self._looked < _LOOK_EVERY_S:
            return
        self._looked = time.monotonic()
        new = [node for node in _nodes(self._wanted) if node["NodeID"] not in self._known]
        self._known |= {node["NodeID"] for node in new}
        if new:
            threading.Thread(target=self._judge, args=[new], daemon=True).start()

    def _judge(self, new: Sequence[Mapping[str, Any]]) -> None:
        try:
            with _questioning(self._config, self._storage) as question:
                problems, notes = _judge([_ask(question, node) for node in new], question, _ANSWER_WITHIN_S)
        except EnvironmentUnusable as error:
            problems, notes = [str(error)], []
        except Exception:  # the sweep has ended meanwhile, and Ray with it
            logging.getLogger(__name__).debug("nodes that joined were not looked at", exc_info=True)
            return
        for sentence in (*notes, *(f"not fit for trials: {problem}" for problem in problems)):
            self._say(sentence)


@contextlib.contextmanager
def _questioning(config: SweepConfig, storage: Path) -> Iterator[Question]:
    """What nodes are asked, with a file in the storage for them to find; nothing is left of it."""
    nonce = f".seen-{secrets.token_hex(8)}"
    data = [place for task in config.tasks for place in (task.data, task.val_data, task.test_data) if place is not None]
    local = {place.removeprefix("hf/") for place in data if place.startswith(("/", _LOCAL_HF))}
    try:
        (storage / nonce).write_text(nonce, encoding="utf-8")
        yield Question(
            distributions=_DISTRIBUTIONS,
            storage=str(storage),
            nonce=nonce,
            data=tuple(sorted(local)),
            backbones=tuple(config.backbones),
        )
    except OSError as error:
        raise EnvironmentUnusable(
            f"the storage {storage} must be a folder that can be written: {error.strerror}; choose another --storage"
        ) from error
    finally:
        for file in storage.glob(f"{nonce}*"):
            file.unlink(missing_ok=True)


def _nodes(wanted: Need) -> list[Mapping[str, Any]]:
    """That are up and have the CPUs of a trial: its data are looked at there even where it has no GPU."""
    import ray

    wanted = Need(cpus=wanted.cpus, gpus=0)
    return [node for node in ray.nodes() if node["Alive"] and fit(node["Resources"].get("CPU", 0), 0, wanted)]


def _ask(question: Question, node: Mapping[str, Any]) -> _Asked:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.cloudpickle.register_pickle_by_value(node_facts)  # a node without this package shall say that it has none
    try:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=1, scheduling_strategy=there)(look_around)
        reference = task.remote(question, node["NodeID"])
    finally:
        ray.cloudpickle.unregister_pickle_by_value(node_facts)
    return _Asked(node=node["NodeManagerAddress"], node_id=node["NodeID"], reference=reference, asked_at=time.time())


def _judge(asked: Sequence[_Asked], question: Question, timeout_s: float) -> tuple[list[str], list[str]]:
    """What is wrong with nodes, and what is worth a note."""
    ours = look_around(question, "driver")
    deadline = time.monotonic() + timeout_s
    problems, notes = [], []
    for one in asked:
        answer = _answer(one, deadline - time.monotonic())
        name = f"node {one.node}" + (f" ({answer['host']})" if "host" in answer else "")
        left = Path(question.storage, f"{question.nonce}.{one.node_id}")
        problems += [f"{name}: {problem}" for problem in compare(answer, ours, question, written=left.exists())]
        late_s = max(0.0, answer.get("time", 0) - time.time()) or min(
            0.0, answer.get("time", one.asked_at) - one.asked_at
        )
        if abs(late_s) > _SKEW_S:
            ahead = "ahead" if late_s > 0 else "behind"
            notes.append(
                f"{name}: its clock is {abs(late_s):.0f} s {ahead}; results are ordered by number, not by time"
            )
    return problems, notes


def _answer(asked: _Asked, timeout_s: float) -> Answer:
    import ray

    try:
        answer: Answer = ray.get(asked.reference, timeout=max(timeout_s, 1.0))
    except ray.exceptions.GetTimeoutError:
        return {"error": f"did not answer within {_ANSWER_WITHIN_S:.0f} s; look at it with `ray status`"}
    except ray.exceptions.RayError as error:
        return {"error": f"could not answer: {one_line((str(error).strip().splitlines() or ['?'])[-1])}"}
    return answer


def compare(answer: Answer, ours: Answer, question: Question, *, written: bool) -> list[str]:
    """What keeps the node that gave `answer` from running trials.

    Args:
        ours: what the driver itself answers.
        written: whether the driver sees what the node wrote to the storage.
    """
    if "error" in answer:
        return [answer["error"]]
    return [
        *_other_versions(answer["versions"], ours["versions"]),
        *_storage(answer["storage"], question, written=written),
        *(
            f"{path} is not there; copy it there, or put it on a file system that every node sees"
            for path in answer["missing"]
        ),
        *(f"the weights of {name}: {reason}" for name, reason in answer["unobtainable"].items()),
    ]


def _other_versions(theirs: Mapping[str, str], ours: Mapping[str, str]) -> Iterator[str]:
    others = [
        f"{name} {theirs[name]} for {ours[name]}" for name in ours if name != "code" and theirs[name] != ours[name]
    ]
    if others:
        yield f"has {', '.join(others)}; install what constraints.txt names, in the Python that Ray was started with"
    elif theirs["code"] != ours["code"]:
        yield (
            f"has other code of this project ({theirs['code']}, and the driver has {ours['code']}); bring it there, "
            "e.g. with `ray up`, and start Ray there again"
        )


def _storage(found: str, question: Question, *, written: bool) -> Iterator[str]:
    fix = "put it on a file system that every node mounts at the same path, and name it with --storage"
    if found:
        yield f"the storage {question.storage} {found}; {fix}"
    elif not written:
        yield f"what it writes to the storage {question.storage} is not seen here; {fix}"
