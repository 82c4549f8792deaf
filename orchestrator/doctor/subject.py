"""What is looked at: this machine, and what a sweep would be given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.config import SweepConfig

__all__ = ["Subject"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """Plain values only: a check may run in a process of its own, which is handed them as JSON."""

    file: str | None = None
    """Sweep file, or the name of a shipped one; None looks at the machine alone."""

    overrides: tuple[str, ...] = ()
    """As ``--set`` takes them. They hold for the shipped sweep, too, where there is no file."""

    address: str | None = None
    """Of a Ray cluster; None is a Ray of one's own."""

    insecure: bool = False
    """Whether the cluster may be one that lets anybody in."""

    @property
    def sweep(self) -> SweepConfig | None:
        """The sweep that is asked about.

        Raises:
            ConfigError: it breaks rules.
        """
        return None if self.file is None else _load(self.file, self.overrides)

    @property
    def config(self) -> SweepConfig:
        """The same; the shipped sweep for what every sweep has, such as a storage, where none is asked about."""
        return _load("quickstart" if self.file is None else self.file, self.overrides)


@cache
def _load(file: str, overrides: tuple[str, ...]) -> SweepConfig:
    from orchestrator.config import load_sweep

    return load_sweep(file, list(overrides))
