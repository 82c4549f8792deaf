"""Checkpoint files of the user's own: read without running code, matched key by key."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from trainables.errors import InvalidConfig, WeightsUnavailable

__all__ = ["load_checkpoint_file", "load_local"]

_CONTAINERS: Final = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "module")
"""Where training scripts put the weights; averaged weights first, as timm does."""

_WRAPPERS: Final = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and Lightning put before every key."""

_PICKLES: Final = (b"\x80", b"PK")
"""How a pickle starts, alone and in the archive that torch writes."""

_NUM_SHOWN: Final = 3


def load_checkpoint_file(path: str | Path) -> dict[str, Tensor]:
    """State dict in a file, on the CPU, out of the containers and prefixes that training scripts add.

    ``.safetensors`` is read as such, anything else as what `torch.save` wrote. No code in it is run.

    Args:
        path: relative to the working directory; ``~`` is the home folder.

    Raises:
        WeightsUnavailable: there is no such file, or it is damaged.
        InvalidConfig: it holds no state dict, or one that only code in the file could rebuild.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise WeightsUnavailable(f"there is no checkpoint file {file}; give the path of one, or leave out '@...'")
    state = _unwrap(_read(file))
    if not state:
        raise InvalidConfig(
            f"{file} holds no state dict; save one with torch.save(model.state_dict(), ...) or as safetensors"
        )
    while prefix := next((p for p in _WRAPPERS if all(key.startswith(p) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def load_local(
    model: nn.Module, path: str | Path, classifiers: Collection[str], optional: tuple[str, ...] = ()
) -> bool:
    """Load a checkpoint file of the same architecture into `model`, in place; whether its classifiers are in it.

    Args:
        classifiers: paths of the layers that may be missing or made for other classes; they then keep
            their own initialisation (a task's head is new in any case).
        optional: prefixes of keys that may be in the file without being in the model.

    Raises:
        WeightsUnavailable: there is no such file, or it is damaged.
        InvalidConfig: it is no state dict, or not one of this architecture.
    """
    wanted = model.state_dict()
    saved = _below_prefix(load_checkpoint_file(path), wanted)
    heads = {f"{classifier}.{part}" for classifier in classifiers for part in ("weight", "bias")}
    fresh = {k for k in heads & wanted.keys() if k not in saved or _differs_in_classes(saved[k], wanted[k])}
    if fresh:
        # A bias of the old classes would be wrong beside new weights.
        saved = {key: value for key, value in saved.items() if key not in heads}
    missing = [k for k in wanted if k not in saved and k not in heads and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in saved if k not in wanted and k not in heads and not k.startswith(optional or ("\0",))]
    misshapen = [
        f"{k} {tuple(saved[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in wanted
        if k in saved and saved[k].shape != wanted[k].shape
    ]
    problems = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    if any(problems.values()):
        raise InvalidConfig(
            f"{Path(path).expanduser().resolve()} is no checkpoint of this {type(model).__name__}: "
            + "; ".join(f"{len(keys)} {kind} ({_some(keys)})" for kind, keys in problems.items() if keys)
            + "; name the architecture it was saved from, with its own keys"
        )
    model.load_state_dict({key: value for key, value in saved.items() if key in wanted}, strict=False)
    return not fresh


def _read(file: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        with file.open("rb") as opened:
            start = opened.read(2)
        if not start.startswith(_PICKLES):
            raise _damaged(file, error) from error
        raise InvalidConfig(
            f"{file} holds more than tensors and could run code when it is read ({_reason(error)}); where you trust "
            "it, load it yourself and save its state dict alone, with torch.save or as safetensors"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> WeightsUnavailable:
    return WeightsUnavailable(f"{file} cannot be read as a checkpoint ({_reason(error)}); copy or save it again")


def _reason(error: Exception) -> str:
    """The line that names the cause, without the advice that torch puts around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines if "Unsupported" in line), lines[0]).partition(" Please ")[0][:200]


def _unwrap(content: Any) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        content = inner
    return {}


def _below_prefix(saved: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The keys below the attribute of a larger module (a Lightning module, say) that holds the model."""
    if any(key in wanted for key in saved):
        return saved
    first = next(iter(wanted))
    prefix = next((key.removesuffix(first) for key in saved if key.endswith(f".{first}")), "")
    below = {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)}
    return below if prefix else saved


def _differs_in_classes(saved: Tensor, wanted: Tensor) -> bool:
    return saved.shape != wanted.shape and saved.shape[1:] == wanted.shape[1:]


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:_NUM_SHOWN]) + (", ..." if len(keys) > _NUM_SHOWN else "")
