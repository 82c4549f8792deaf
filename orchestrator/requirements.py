"""What costs nothing to look at before a sweep starts or goes on: versions, and what is allowed but unwise."""

from __future__ import annotations

from typing import Final

from orchestrator.config import SweepConfig
from orchestrator.errors import EnvironmentUnusable

__all__ = ["advice", "require_versions"]

_WASTE: Final = 0.05
"""Share of a GPU that nobody would miss."""


def require_versions() -> None:
    """Refuse to start on other versions than this package asks for, in one line with the command that installs them.

    Raises:
        EnvironmentUnusable: Python or a required package is of another version, or missing.
    """
    from orchestrator.doctor.subject import Subject
    from orchestrator.doctor.versions import packages, python

    for look in (python, packages):
        for finding in look(Subject()):
            if finding.status == "broken":
                raise EnvironmentUnusable(f"{finding.detail}: {finding.fix}")


def advice(config: SweepConfig) -> tuple[str, ...]:
    """Sentences on what a sweep may ask for and should not: nothing of it is an error."""
    gpus = config.resources.gpus_per_trial
    if gpus == "auto" or not 0 < gpus < 1:
        return ()
    # A fraction never spans two GPUs.
    per_gpu = int(1 / gpus + 1e-9)
    unused = 1 - per_gpu * gpus
    if unused < _WASTE:
        return ()
    trials = f"{per_gpu} trials fit" if per_gpu > 1 else "1 trial fits"
    return (
        f"resources.gpus_per_trial {gpus:g}: {trials} on a GPU, which leaves {unused:.0%} of it unused; "
        f"{_rounded_down(1 / per_gpu)} uses all of it",
    )


def _rounded_down(share: float) -> str:
    """So that as many as it is a share of still fit."""
    return f"{int(share * 1000) / 1000:g}"
