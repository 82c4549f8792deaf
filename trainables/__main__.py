"""Fine-tune one configuration, alone: ``python -m trainables --backbone ... --data digits``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from trainables.config import EpochMetrics, FinetuneConfig, TaskSpec
from trainables.errors import TrainableError
from trainables.evaluation import Evaluation
from trainables.execution import Execution

if TYPE_CHECKING:
    from trainables.finetune import Finetuner

_NAME = "name"  # of the task: it names nothing here


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line per epoch, one for the test split and, where asked for, one for everything else that is
    measured. Returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        for line in _finetune(options):
            print(json.dumps(line), flush=True)
    except TrainableError as error:
        if options.verbose:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except _Unwritable as error:
        print(f"error: {error}", file=sys.stderr)
        return 4
    return 0


class _Unwritable(Exception):
    """A checkpoint cannot be saved."""


def _finetune(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    import torch

    from trainables.backbones import build
    from trainables.catalog import lookup
    from trainables.checkpoint import Restored, load_checkpoint
    from trainables.data import load_task
    from trainables.finetune import Finetuner

    config = FinetuneConfig(**_given(options, FinetuneConfig))
    spec = TaskSpec(name="task", **_given(options, TaskSpec))
    execution = Execution(**_given(options, Execution))
    evaluation = Evaluation(**_given(options, Evaluation))
    if options.evaluate and evaluation.num_explained:
        from trainables.explain.extra import require_captum

        require_captum()  # before anything is trained
    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    backbone = build(lookup(config.backbone))
    finetuner = Finetuner(config, backbone, load_task(spec, backbone.preprocessing), execution=execution)
    task = finetuner.task
    restored = Restored() if options.checkpoint is None else load_checkpoint(options.checkpoint, finetuner)
    yield {
        "config": asdict(config),
        "num_blocks": backbone.num_blocks,
        "num_params": finetuner.num_params,
        "num_params_trainable": finetuner.num_params_trainable,
        "num_train": len(task.train),
        "num_val": len(task.val),
        "notes": (*task.notes, *restored.notes),
        "device": str(finetuner.device),
    }
    epochs = list(restored.epochs)
    yield from map(asdict, epochs)
    for metrics in finetuner.epochs():
        epochs.append(metrics)
        if options.checkpoint is not None:
            _save(options.checkpoint, finetuner, epochs)
        yield asdict(metrics)
    test = finetuner.measure_test()
    yield {
        "test": asdict(test.quality),
        "num_test": test.num_test,
        "metric": task.objective.metric,
        "chance": task.objective.chance,
        "best_epoch": finetuner.best.epoch if finetuner.best else None,
        "frozen_digest": finetuner.frozen_digest,
    }
    if options.evaluate:
        yield _evaluation(finetuner, evaluation)


def _save(folder: Path, finetuner: Finetuner, epochs: Sequence[EpochMetrics]) -> None:
    from trainables.checkpoint import save_checkpoint

    try:
        save_checkpoint(folder, finetuner, attempt=1, epochs=epochs, facts={})
    except OSError as error:
        raise _Unwritable(
            f"--checkpoint {folder} must be a folder that can be written: {error.strerror or error}; make room, or "
            "name another; the same command then goes on after the last epoch that was saved"
        ) from error


def _evaluation(finetuner: Finetuner, evaluation: Evaluation) -> dict[str, Any]:
    """Measures by name, split and condition; null where one is not defined, as JSON has no other word for it."""
    from trainables.evaluate import evaluate

    found = evaluate(finetuner, evaluation)
    return {
        "measures": [
            {**asdict(measure), "value": measure.value if math.isfinite(measure.value) else None}
            for measure in found.measures
        ],
        "perturbed_score": found.perturbed_score,
        "confusion": None if found.confusion is None else found.confusion.tolist(),
        "class_names": finetuner.task.class_names,
        "notes": found.notes,
    }


def _given(options: argparse.Namespace, cls: type[Any]) -> dict[str, Any]:
    """The options that are fields of `cls`."""
    return {field.name: getattr(options, field.name) for field in fields(cls) if field.name != _NAME}


def _parser() -> argparse.ArgumentParser:
    """One option per field of the four kinds of settings, with its type and default."""
    parser = argparse.ArgumentParser(
        prog="python -m trainables", description="Fine-tune one configuration and print JSON lines."
    )
    kinds = {
        "configuration": FinetuneConfig,
        "task": TaskSpec,
        "execution": Execution,
        "evaluation (with --evaluate)": Evaluation,
    }
    for title, cls in kinds.items():
        group = parser.add_argument_group(title)
        types = get_type_hints(cls)
        for field in fields(cls):
            if field.name == _NAME:
                continue
            required = field.default is dataclasses.MISSING
            group.add_argument(
                "--" + field.name.replace("_", "-"),
                required=required,
                default=None if required else field.default,
                help=None if required else f"default {field.default!r}".replace("%", "%%"),
                **_value(types[field.name]),
            )
    parser.add_argument("--evaluate", action="store_true", help="measure everything else of the best epoch as well")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="save each epoch in this folder, and go on from what is there: to the same result",
    )
    parser.add_argument("--num-threads", type=int, help="of torch; default: one per core")
    parser.add_argument("-v", "--verbose", action="store_true", help="show tracebacks")
    return parser


def _value(hint: Any) -> dict[str, Any]:
    """How argparse reads a value of a field's type."""
    if get_origin(hint) is UnionType or NoneType in get_args(hint):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if get_origin(hint) is tuple:
        first, *rest = get_args(hint)
        return {"type": first, "nargs": "+" if Ellipsis in rest else 1 + len(rest)}
    return {"type": hint}


if __name__ == "__main__":
    raise SystemExit(main())
