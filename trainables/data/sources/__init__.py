"""Where labelled samples come from, one module per kind of place."""

from __future__ import annotations

from trainables.data.sources.contract import Source

__all__ = ["Source"]
