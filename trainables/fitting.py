"""Whether a backbone takes the images of a task."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch

from trainables.backbones import Backbone
from trainables.data import Task
from trainables.errors import InvalidConfig
from trainables.preprocessing import ImagePreprocessing

__all__ = ["require_fitting_images"]

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
