"""A sweep's file on disk, opened again: to go on as it began, or with more budget."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.config import SweepConfig, load_sweep, resolved_yaml
from orchestrator.config.yaml_source import parse_yaml
from orchestrator.errors import UsageError, shown
from orchestrator.folder import FINISHED_AT, SweepFolder, write_whole
from orchestrator.provenance import settings_of

__all__ = ["extend", "grown", "recorded_config", "reopen"]

_ABOUT_RESULTS: Final = "only resources.* may differ when a sweep goes on, as all else is part of what its results mean"
_BEFORE: Final = "config_before"


def reopen(folder: SweepFolder, overrides: Sequence[str] = ()) -> SweepConfig:
    """The configuration that a sweep began with.

    Args:
        overrides: of ``resources.*`` alone, as `load_sweep` takes them.

    Raises:
        UsageError: the sweep's file was changed since, or something else shall be set. The message has the
            difference.
        ConfigError: a rule is broken.
    """
    for override in overrides:
        key = override.partition("=")[0]
        if not key.startswith("resources."):
            raise UsageError(
                f"{_ABOUT_RESULTS}, got --set {shown(override)}; for more trials: python -m orchestrator sweep "
                f"--extend {folder.sweep_id} --set budget.trials=..., for anything else a new sweep"
            )
    _finish_extension(folder)
    _require_unchanged(folder)
    return recorded_config(folder, overrides)


def recorded_config(folder: SweepFolder, overrides: Sequence[str] = ()) -> SweepConfig:
    """What a sweep's own file says, stored where the folder is now: it may have been moved.

    Args:
        overrides: as `load_sweep` takes them.

    Raises:
        ConfigError: a rule is broken.
    """
    return load_sweep(folder.config_file, [f"storage={json.dumps(str(folder.path.parent))}", *overrides])


def extend(folder: SweepFolder, overrides: Sequence[str]) -> SweepConfig:
    """Grant a sweep more budget: its file and facts say so from here on. Only who holds the lease may.

    Args:
        overrides: of ``budget.trials``, ``confirmation.seeds`` and ``confirmation.train_fracs``, none smaller.

    Raises:
        UsageError: something else would change, or nothing would.
        ConfigError: a rule is broken.
    """
    before = reopen(folder)
    after = grown(before, recorded_config(folder, overrides))
    facts = folder.read_facts()
    text = resolved_yaml(after, redacted=True)
    facts |= {_BEFORE: facts.get("config"), "config": text, "settings": settings_of(after)}
    facts.pop(FINISHED_AT, None)
    # The facts first: a kill between the two leaves a file that `_finish_extension` knows to be the old one.
    folder.write_facts(facts)
    write_whole(folder.config_file, text)
    return after


def grown(before: SweepConfig, after: SweepConfig) -> SweepConfig:
    """`after`, where it is `before` with more budget.

    Raises:
        UsageError: it is not.
    """
    changes = _changes(_mapping(resolved_yaml(before)), _mapping(resolved_yaml(after)))
    if not changes:
        raise UsageError("--extend must grant more, e.g. --set budget.trials=16; everything set is as it was")
    wrong = [f"{key}: {_said(was)} -> {_said(now)}" for key, was, now in changes if not _grows(key, was, now)]
    if wrong:
        raise UsageError(
            "--extend may raise budget.trials and confirmation.seeds and add confirmation.train_fracs, and nothing "
            "else, as what was trained must stay comparable; got " + "; ".join(wrong)
        )
    return after


def _grows(key: str, was: Any, now: Any) -> bool:
    if key in ("budget.trials", "confirmation.seeds"):
        return bool(now > was)
    return key == "confirmation.train_fracs" and set(now or ()) > set(was or ())


def _require_unchanged(folder: SweepFolder) -> None:
    known = folder.read_facts().get("config")
    if known is None:  # of an earlier version, which kept no copy to compare with
        return
    changes = _changes(_mapping(known), _mapping(folder.config_file.read_text(encoding="utf-8")))
    if changes:
        raise UsageError(
            f"{folder.config_file} must be as the sweep began with it, and differs; put it back, or start a new sweep "
            "from it, or for more trials use sweep --extend:\n"
            + "\n".join(f"  {key}: was {_said(was)}, is {_said(now)}" for key, was, now in changes)
        )


def _finish_extension(folder: SweepFolder) -> None:
    """Write the file that a driver killed in the middle of `extend` did not come to."""
    facts = folder.read_facts()
    if facts.get(_BEFORE) is not None and folder.config_file.read_text(encoding="utf-8") == facts[_BEFORE]:
        write_whole(folder.config_file, facts["config"])


def _mapping(text: str) -> dict[str, Any]:
    """Values by dotted key, without where the sweep lies and where it is tracked."""
    found = _flat(parse_yaml(text, "sweep.yaml").value)
    return {key: value for key, value in found.items() if key not in ("storage", "tracking_uri")}


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        parts = [_flat(item, f"{key}.{name}" if key else str(name)) for name, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        parts = [_flat(item, f"{key}.{index}") for index, item in enumerate(value)]
    else:
        return {key: value}
    return {name: item for part in parts for name, item in part.items()}


def _changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(key, was.get(key), now.get(key)) for key in {**was, **now} if was.get(key) != now.get(key)]


def _said(value: Any) -> str:
    return "missing" if value is None else shown(value)
