"""Sweep files: strict YAML in, one frozen `SweepConfig` out, and back. Loads neither torch nor Ray."""

from __future__ import annotations

from orchestrator.config.loading import (
    config_schema,
    load_sweep,
    resolved_yaml,
    sweep_files,
    sweep_from_mapping,
    sweep_mapping,
)
from orchestrator.config.model import (
    Allocation,
    Budget,
    Component,
    Confirmation,
    Preset,
    Resources,
    SweepConfig,
    Weighting,
)

__all__ = [
    "Allocation",
    "Budget",
    "Component",
    "Confirmation",
    "Preset",
    "Resources",
    "SweepConfig",
    "Weighting",
    "config_schema",
    "load_sweep",
    "resolved_yaml",
    "sweep_files",
    "sweep_from_mapping",
    "sweep_mapping",
]
