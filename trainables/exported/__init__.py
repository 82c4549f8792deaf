"""A fine-tuned network as a folder that predicts by itself: no pretrained weights, no data and no network needed.

``save_model(folder, finetuner)`` writes it, ``load_model(folder).predict(samples)`` uses it::

    folder/
        model.safetensors   every tensor of the network, as it scored best on validation
        model.json          what it is: `ModelFacts`
        checkpoint/         of a transformers backbone: its configuration and tokenizer or processor, without weights
        example/            a test sample in the form the model is fed, and what the model answers

What is here is imported when it is asked for: `facts` is read where there is no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from trainables.exported.facts import ModelFacts, read_facts
    from trainables.exported.model import ExportedModel, load_model
    from trainables.exported.saving import save_model

__all__ = ["ExportedModel", "ModelFacts", "load_model", "read_facts", "save_model"]

_HOMES: Final = {
    "ExportedModel": "model",
    "ModelFacts": "facts",
    "load_model": "model",
    "read_facts": "facts",
    "save_model": "saving",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
