"""What the network costs: parameters, arithmetic, time, storage and, where a GPU says it, energy."""

from __future__ import annotations

import time
from statistics import median
from typing import Final

import torch
from torch import Tensor

from trainables.evaluate.energy import energy_meter
from trainables.evaluate.findings import Findings, Measure
from trainables.evaluate.subject import Subject
from trainables.evaluation import Evaluation
from trainables.flops import counted_flops, flops_along
from trainables.freezing import first_tuned, moving_state
from trainables.precision import autocast
from trainables.preprocessing import State
from trainables.splitting import InParts

__all__ = ["efficiency"]

NUM_WARM_UP: Final = 2
"""Passes before the clock starts: libraries choose their algorithms in the first."""

MAX_PASSES: Final = 50
MAX_S: Final = 0.2
"""No further pass is begun after so many passes, or so many seconds."""

METERED_S: Final = 1.0
"""Seconds of passes whose energy is metered: a GPU's meter moves every tenth of one."""


def efficiency(subject: Subject, evaluation: Evaluation) -> Findings:
    """Parameters, FLOPs per sample, latency of one sample, throughput of batches, bytes of what was tuned.

    FLOPs and latency are those of the test sample of middle length, throughput (and energy per sample) of a
    batch spread evenly over the test split and padded to its longest. Samples are prepared beforehand. Times
    are of this machine as busy as it is: with other trials beside it they are no property of the backbone.
    """
    config, num_test = subject.config, len(subject.task.test)
    one = _inputs(subject, _middle(subject))
    batch = _inputs(subject, torch.arange(config.batch_size) * num_test // config.batch_size)
    run = _Forward(subject)
    with subject.differentiable():  # what cuDNN does as a whole is not counted either
        flops = _flops(subject, one)
    values: dict[str, float] = {
        "num_params": subject.finetuner.num_params,
        "num_params_trainable": subject.finetuner.num_params_trainable,
        "num_params_head": sum(p.numel() for p in subject.tuned.head.parameters()),
        "checkpoint_bytes": sum(t.nbytes for t in moving_state(subject.tuned).values()),
        **flops,
        "latency_s": median(run.durations(one)),
        "throughput": config.batch_size / median(run.durations(batch)),
    }
    joules = run.energy(batch)
    if joules is not None:
        values["energy_j"] = joules / config.batch_size
    return Findings(measures=tuple(Measure(name=name, value=float(value)) for name, value in values.items()))


def _inputs(subject: Subject, positions: Tensor) -> State:
    """What enters block 0 of test samples."""
    with torch.no_grad():
        return subject.prepared(subject.encoded(subject.task.test, positions))


def _middle(subject: Subject) -> Tensor:
    """Position of the test sample of middle length."""
    lengths = subject.task.test.lengths
    return torch.tensor([0]) if lengths is None else lengths.argsort(stable=True)[len(lengths) // 2].reshape(1)


def _flops(subject: Subject, one: State) -> dict[str, float]:
    """Of one sample: a forward pass, its part in the frozen leading blocks, and a training step behind these.

    ``flops_train`` is the whole run: a step for every training sample of every epoch, and one pass of each
    through the frozen blocks.
    """
    backbone, start = subject.tuned, first_tuned(subject.tuned)
    with torch.no_grad():
        passed = list(flops_along([*backbone.blocks, backbone.head], one))
        boundary = backbone.features(one, 0, start) if start else one
    trained = [p for p in backbone.parameters() if p.requires_grad]
    # In eval mode: a training mode would move running statistics, and does the same products.
    with counted_flops() as counter, torch.enable_grad():
        outputs = backbone.head(backbone.features(boundary, start))
        torch.autograd.grad(outputs.sum(), trained, allow_unused=True)
    prefix, step = sum(flops for flops, _ in passed[:start]), counter.get_total_flops()
    num_train = len(subject.task.train)
    return {
        "flops_forward": sum(flops for flops, _ in passed),
        "flops_prefix": prefix,
        "flops_train_step": step,
        "flops_train": num_train * (prefix + step * subject.config.max_epochs),
    }


class _Forward:
    """Passes through the whole network, as in use: without gradients, in the run's precision."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._device = subject.device
        self._in_parts = InParts(subject.device)

    def durations(self, state: State) -> list[float]:
        """Wall seconds of several passes, at least one."""
        self._several(state, NUM_WARM_UP)
        return self._several(state, MAX_PASSES)

    def _several(self, state: State, most: int) -> list[float]:
        seconds: list[float] = []
        while not seconds or (len(seconds) < most and sum(seconds) < MAX_S):
            started = time.perf_counter()
            self._pass(state)
            seconds.append(time.perf_counter() - started)
        return seconds

    def energy(self, state: State) -> float | None:
        """Joules of a pass, all that runs on the GPU included; None where nothing meters them."""
        meter = energy_meter(self._device)
        if meter is None:
            return None
        num, before, started = 0, meter(), time.perf_counter()
        while time.perf_counter() - started < METERED_S:
            self._pass(state)
            num += 1
        return (meter() - before) / num

    def _pass(self, state: State) -> None:
        with torch.inference_mode(), autocast(self._subject.config.precision, self._device):
            self._in_parts(self._subject.tuned, state)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
