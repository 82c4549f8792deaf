"""Training loops without this project, on images that are in memory: one with every trick, and the usual one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import models

__all__ = ["Images", "hand_written_epochs", "make_model", "reference_epochs"]


@dataclass(frozen=True, kw_only=True)
class Images:
    """uint8 pixels (n, 3, side, side) on the host, labels (n,), and how they are normalised."""

    pixels: Tensor
    labels: Tensor
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def make_model(name: str, num_classes: int, frozen_frac: float) -> tuple[nn.Module, list[nn.Module]]:
    """An untrained model with its leading layers frozen, and those, which belong in eval mode.

    Args:
        name: ``torchvision/<a ResNet>`` or ``timm/<a vision transformer>``.
        frozen_frac: share of the layers that are frozen, the stem being one.
    """
    library, _, architecture = name.partition("@")[0].partition("/")
    if library == "torchvision":
        model = models.get_model(architecture, weights=None, num_classes=num_classes)
        stages = (model.layer1, model.layer2, model.layer3, model.layer4)
        layers = [[model.conv1, model.bn1], *([block] for stage in stages for block in stage)]
        embeddings: list[nn.Parameter] = []
    else:
        model = timm.create_model(architecture, pretrained=False, num_classes=num_classes)
        layers = [[model.patch_embed], *([block] for block in model.blocks)]
        embeddings = [model.pos_embed, model.cls_token]
    num_frozen = round(frozen_frac * len(layers))
    frozen = [module for layer in layers[:num_frozen] for module in layer]
    for module in frozen:
        module.requires_grad_(False)
    for parameter in embeddings:
        parameter.requires_grad_(not frozen)
    return model, frozen


def hand_written_epochs(
    model: nn.Module, frozen: list[nn.Module], images: Images, batch_size: int, device: torch.device
) -> Iterator[float]:
    """Seconds of each epoch: channels last, bf16, fused AdamW, pinned copies, no wait before the epoch's end."""
    model = model.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) * 255 for v in (images.mean, images.std))
    while True:
        started = time.perf_counter()
        _train_mode(model, frozen)
        total = torch.zeros((), device=device)
        for positions in torch.split(torch.randperm(len(images.labels)), batch_size):
            pixels, labels = images.pixels[positions], images.labels[positions]
            if device.type == "cuda":
                pixels, labels = pixels.pin_memory(), labels.pin_memory()
            pixels, labels = pixels.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            x = ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                outputs = model(x)
            loss = cross_entropy(outputs.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.detach()
        total.item()
        yield time.perf_counter() - started


def reference_epochs(
    model: nn.Module,
    frozen: list[nn.Module],
    images: Images,
    batch_size: int,
    device: torch.device,
    *,
    amp: bool,
    num_workers: int,
) -> Iterator[float]:
    """Seconds of each epoch of a loop as torchvision's references have it: a DataLoader, its images normalised one by
    one, contiguous tensors, a plain optimizer, loss and accuracy read at every step."""
    model = model.to(device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    scaler = torch.amp.GradScaler(device.type) if amp else None
    loader = DataLoader(
        _Normalised(images),
        batch_size,
        shuffle=True,
        num_workers=num_workers,
        pin_memory=device.type == "cuda",
        persistent_workers=num_workers > 0,
    )
    while True:
        started = time.perf_counter()
        _train_mode(model, frozen)
        for batch, targets in loader:
            x, labels = batch.to(device, non_blocking=True), targets.to(device, non_blocking=True)
            with torch.autocast(device.type, enabled=amp):
                outputs = model(x)
                loss = cross_entropy(outputs, labels)
            optimizer.zero_grad()
            if scaler is not None:
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.step(optimizer)
                scaler.update()
            else:
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            loss.item()
            (outputs.argmax(dim=1) == labels).float().mean().item()
        yield time.perf_counter() - started


class _Normalised(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, images: Images) -> None:
        self._images = images
        self._mean = torch.tensor(images.mean).view(3, 1, 1)
        self._std = torch.tensor(images.std).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self._images.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pixels = self._images.pixels[index].float() / 255
        return (pixels - self._mean) / self._std, self._images.labels[index]


def _train_mode(model: nn.Module, frozen: list[nn.Module]) -> None:
    model.train()
    for module in frozen:
        module.eval()
