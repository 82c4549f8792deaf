"""Fine-tune one configuration, alone: ``python -m trainables --backbone ... --task digits``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any, get_args, get_origin, get_type_hints

from trainables.config import FinetuneConfig, TaskSpec
from trainables.errors import TrainableError


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line per epoch and one for the test split. Returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        for line in _finetune(options):
            print(json.dumps(line), flush=True)
    except TrainableError as error:
        if options.verbose:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _finetune(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    import torch

    from trainables.backbones import build
    from trainables.catalog import lookup
    from trainables.data import load_task
    from trainables.finetune import Finetuner

    config = FinetuneConfig(**{f.name: getattr(options, f.name) for f in fields(FinetuneConfig)})
    spec = TaskSpec(
        name="task",
        data=options.task,
        image_size=options.image_size,
        num_train=options.num_train,
        num_val=options.num_val,
    )
    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    backbone = build(lookup(config.backbone))
    finetuner = Finetuner(config, backbone, load_task(spec, backbone.preprocessing))
    yield {
        "config": asdict(config),
        "num_blocks": backbone.num_blocks,
        "num_params": finetuner.num_params,
        "num_params_trainable": finetuner.num_params_trainable,
        "device": str(finetuner.device),
    }
    for metrics in finetuner.epochs():
        yield asdict(metrics)
    test = finetuner.measure_test()
    yield {
        "test": asdict(test.quality),
        "num_test": test.num_test,
        "metric": finetuner.task.metric,
        "chance": finetuner.task.chance,
        "best_epoch": finetuner.best.epoch if finetuner.best else None,
        "frozen_digest": finetuner.frozen_digest,
    }


def _parser() -> argparse.ArgumentParser:
    """One option per `FinetuneConfig` field, with its type and default."""
    parser = argparse.ArgumentParser(
        prog="python -m trainables", description="Fine-tune one configuration and print JSON lines."
    )
    types = get_type_hints(FinetuneConfig)
    for field in fields(FinetuneConfig):
        literal = get_origin(types[field.name]) is not None
        required = field.name == "backbone"
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=str if literal else types[field.name],
            choices=get_args(types[field.name]) if literal else None,
            required=required,
            default=None if required else field.default,
            help=None if required else f"default {field.default}",
        )
    parser.add_argument("--task", default="digits", help="'digits' or the path of an image folder")
    parser.add_argument("--image-size", type=int, help="default: the checkpoint's own")
    parser.add_argument("--num-train", type=int, help="default: all that validation and test leave")
    parser.add_argument("--num-val", type=int, help="default: 20 %% of what is not test")
    parser.add_argument("--num-threads", type=int, help="of torch; default: one per core")
    parser.add_argument("-v", "--verbose", action="store_true", help="show tracebacks")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
