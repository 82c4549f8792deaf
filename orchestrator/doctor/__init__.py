"""Whether this machine can run a sweep, and what to do where it cannot: ``python -m orchestrator doctor``.

    for finding in diagnose(Subject(file="flowers.yaml")):
        print(finding.status, finding.name, finding.detail, finding.fix)

A check is a function from a `Subject` to `Finding`s, listed in `orchestrator.doctor.checks`.
"""

from __future__ import annotations

from orchestrator.doctor.checks import CHECKS
from orchestrator.doctor.finding import Finding, Status
from orchestrator.doctor.running import Check, run_checks
from orchestrator.doctor.subject import Subject

__all__ = ["CHECKS", "Check", "Finding", "Status", "Subject", "diagnose"]


def diagnose(subject: Subject) -> list[Finding]:
    """Look at everything, in the order of `CHECKS`. It takes about as long as Ray takes to start.

    Raises:
        ConfigError: the sweep file breaks rules.
    """
    _ = subject.config
    return run_checks(CHECKS, subject)
