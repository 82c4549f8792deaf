"""The Hugging Face hub: its cache first, its host only where that answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from trainables.errors import WeightsUnavailable
from trainables.network import require_network

__all__ = ["hub_offline", "require_hub"]


@contextmanager
def hub_offline() -> Iterator[None]:
    """Look in the hub's cache only, without its half minute of retries."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def require_hub(missing: str) -> None:
    """Refuse at once where the hub cannot be asked.

    Raises:
        WeightsUnavailable: it is out of reach, or ``HF_HUB_OFFLINE`` forbids asking it.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise WeightsUnavailable(f"{missing} and HF_HUB_OFFLINE is set; unset it, or bring the cache along")
    require_network(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), missing)
