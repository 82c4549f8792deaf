"""The command line. Every command imports what it needs when it runs, so that ``--help`` is instant."""

from __future__ import annotations

from orchestrator.cli.app import main, run

__all__ = ["main", "run"]
