"""The library that explains, which is an extra."""

from __future__ import annotations

import importlib.util

from trainables.errors import InvalidConfig

__all__ = ["require_captum"]


def require_captum() -> None:
    """Look for captum without loading it.

    Raises:
        InvalidConfig: it is not installed.
    """
    if importlib.util.find_spec("captum") is None:
        raise InvalidConfig(
            "num_explained above 0 needs captum, which is not installed: "
            'pip install "orchestrator[explain]", or set evaluation.num_explained to 0'
        )
