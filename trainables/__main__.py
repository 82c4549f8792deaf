"""Fine-tune one configuration, alone: ``python -m trainables --backbone ... --data digits``."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.command_line import add_settings, settings
from trainables.config import EpochMetrics, FinetuneConfig, TaskSpec
from trainables.errors import InvalidConfig, TrainableError
from trainables.evaluation import Evaluation
from trainables.execution import Execution

if TYPE_CHECKING:
    import torch

    from trainables.finetune import Finetuner


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

    config = settings(options, FinetuneConfig)
    spec = settings(options, TaskSpec)
    execution = settings(options, Execution)
    evaluation = settings(options, Evaluation)
    if options.evaluate and evaluation.num_explained:
        from trainables.explain.extra import require_captum

        require_captum()  # before anything is trained
    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    backbone = build(lookup(config.backbone))
    task = load_task(spec, backbone.preprocessing).reduced(options.reduced_frac)
    finetuner = Finetuner(config, backbone, task, _device(options.device), execution)
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


def _device(name: str | None) -> torch.device | None:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InvalidConfig("--device cuda needs a GPU that torch can use, and finds none")
    return None if name is None else torch.device(name)


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainables", description="Fine-tune one configuration and print JSON lines."
    )
    add_settings(parser)
    parser.add_argument("--evaluate", action="store_true", help="measure everything else of the best epoch as well")
    parser.add_argument(
        "--reduced-frac",
        type=_share,
        default=1.0,
        metavar="FRAC",
        help="train on this share of the training split, as a sweep's runs on fewer samples do: with the same "
        "validation and test samples; default 1.0",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="save each epoch in this folder, and go on from what is there: to the same result",
    )
    parser.add_argument("--num-threads", type=int, help="of torch; default: one per core")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("-v", "--verbose", action="store_true", help="show tracebacks")
    return parser


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"must be in (0, 1], got {text}")
    return share


if __name__ == "__main__":
    raise SystemExit(main())
