"""Whether a backbone takes the images of a task, and its norms the batches of a configuration."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch

from trainables.backbones import Backbone
from trainables.data import Task
from trainables.errors import InvalidConfig
from trainables.passes import mixes_samples
from trainables.preprocessing import ImagePreprocessing

__all__ = ["require_fitting_batches", "require_fitting_images"]

_fitting: WeakKeyDictionary[Backbone, set[int]] = WeakKeyDictionary()
"""Sides of images that a backbone has taken before."""


def require_fitting_images(backbone: Backbone, task: Task) -> None:
    """Try one image, once, where the task has resized them: some architectures take only their own size.

    Raises:
        InvalidConfig: it cannot be taken.
    """
    preprocessing = backbone.preprocessing
    if not isinstance(preprocessing, ImagePreprocessing):
        return
    encoded, _ = task.train.batch(torch.arange(1))
    side, own = encoded[0].shape[-1], preprocessing.input_size
    fitting = _fitting.setdefault(backbone, set())
    if side == own or side in fitting:
        return
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.inference_mode():
            backbone(task.preprocessing.on_device()(encoded))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise InvalidConfig(
            f"{backbone.spec.name} cannot take images of {side} px ({error}); its own size is {own}"
        ) from error
    finally:
        backbone.train(was_training)
    fitting.add(side)


def require_fitting_batches(backbone: Backbone, sizes: list[int]) -> None:
    """Refuse batches of one sample where a tuned norm, as BatchNorm, takes its statistics from the batch.

    Of a single vector there are none: torch raises. Of a single picture there are, but those of that picture, so
    that what is trained is not what is validated.

    Args:
        backbone: frozen as the run wants it.
        sizes: of all batches of an epoch.

    Raises:
        InvalidConfig: there is such a batch and such a norm.
    """
    was_training = backbone.training
    backbone.train()
    try:
        mixes = mixes_samples([*backbone.blocks, backbone.head])
    finally:
        backbone.train(was_training)
    if mixes and min(sizes) == 1:
        raise InvalidConfig(
            f"batches must hold at least 2 samples where BatchNorm is tuned, as in {backbone.spec.name}, and "
            f"{'the only one holds' if len(sizes) == 1 else 'they hold'} 1; raise finetune.batch_size (or what the "
            "space searches), take more training samples, or freeze every block"
        )
