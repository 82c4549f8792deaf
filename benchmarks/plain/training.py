"""The trainable: one model fine-tuned on an image folder, as the documentation of Ray Tune teaches it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import tune
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Sampler
from torchvision.datasets import ImageFolder

from benchmarks.plain.models import build_model, freeze, layers, transform_for

__all__ = ["train"]


class SeededSampler(Sampler[int]):
    """A new order in every epoch, the same in every process: a trial can be repeated."""

    def __init__(self, num_samples: int, seed: int) -> None:
        self._num_samples = num_samples
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._num_samples

    def __iter__(self) -> Iterator[int]:
        torch.manual_seed(int(np.random.SeedSequence((self._seed, self._epoch)).generate_state(1, np.uint64)[0]))
        yield from torch.randperm(self._num_samples).tolist()


def train(config: dict[str, Any]) -> None:
    """Fine-tune; the test split is measured with the weights that were best on validation."""
    transform = transform_for(config["backbone"], config["image_size"])
    splits = {part: ImageFolder(Path(config["data"]) / part, transform) for part in ("train", "val", "test")}
    sampler = SeededSampler(len(splits["train"]), config["seed"])
    # Of its own, so that dropout alone draws from torch's global generator.
    generator = torch.Generator()
    loader = DataLoader(splits["train"], config["batch_size"], sampler=sampler, generator=generator)
    val, test = (DataLoader(splits[part], 256, generator=generator) for part in ("val", "test"))

    model = build_model(config["backbone"], len(splits["train"].classes), config["seed"])
    # Batches follow: a convolution works in the order that its filter has.
    model.to(memory_format=torch.channels_last if config.get("channels_last") else torch.contiguous_format)
    depth = round(config["freeze_frac"] * len(layers(model)))
    frozen = freeze(model, depth)
    optimizer = _optimizer(model, config)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, _schedule(config["max_epochs"] * len(loader)))

    best_accuracy, best = -1.0, {}
    for epoch in range(config["max_epochs"]):
        sampler.set_epoch(epoch)
        model.train()
        for module in frozen:
            module.eval()  # or their BatchNorm statistics would move
        total = 0.0
        for images, labels in loader:
            loss = cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scheduler.step()
            total += loss.item() * len(labels)
        val_loss, val_accuracy = _evaluate(model, val)
        if val_accuracy > best_accuracy:
            best_accuracy = val_accuracy
            best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        metrics = {"epoch": epoch + 1, "train_loss": total / len(sampler), "val_loss": val_loss}
        metrics |= {"val_accuracy": val_accuracy, "best_val_accuracy": best_accuracy, "freeze_depth": depth}
        if epoch + 1 == config["max_epochs"]:
            model.load_state_dict(best)
            metrics["test_loss"], metrics["test_accuracy"] = _evaluate(model, test)
        tune.report(metrics)


def _optimizer(model: nn.Module, config: dict[str, Any]) -> torch.optim.Optimizer:
    """AdamW; the head has a learning rate of its own, biases and norms are not decayed."""
    body = {parameter for layer in layers(model) for module in layer for parameter in module.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            lr = config["learning_rate"] if parameter in body else config["head_learning_rate"]
            decay = config["weight_decay"] if parameter.ndim > 1 else 0.0
            groups.setdefault((lr, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "lr": lr, "weight_decay": decay} for (lr, decay), parameters in groups.items()]
    )


def _schedule(num_steps: int) -> Any:
    """Linear warm-up over a tenth of the steps, then a cosine to 0."""
    warmup = round(0.1 * num_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))

    return factor


@torch.inference_mode()
def _evaluate(model: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Mean loss and accuracy."""
    model.eval()
    loss, correct, num = 0.0, 0, 0
    for images, labels in loader:
        outputs = model(images)
        loss += cross_entropy(outputs, labels, reduction="sum").item()
        correct += int((outputs.argmax(dim=1) == labels).sum())
        num += len(labels)
    return loss / num, correct / num
