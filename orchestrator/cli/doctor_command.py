"""``doctor``: whether this machine, or a cluster, can run a sweep."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orchestrator.cli.options import Address, AsJson, Insecure, Verbose, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.doctor import Finding, Status

__all__ = ["doctor"]

UNUSABLE: Final = 4
_WORDS: Final[dict[Status, str]] = {"ok": "ok", "warning": "warn", "broken": "broken", "skipped": "-"}


def doctor(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[SWEEP_FILE]", help="Look also for what this sweep needs: a file, or a shipped one."),
    ] = None,
    storage: Annotated[str | None, typer.Option(help="Same as --set storage=...")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="Same as --set tracking_uri=...")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the sweep file.")
    ] = None,
    address: Address = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only what is not as it should be.")] = False,
    verbose: Verbose = False,
) -> int:
    """Try everything a sweep needs, and say what to do about what does not work. Leaves nothing behind."""
    from orchestrator.doctor import Subject, diagnose

    given = {"storage": storage, "tracking_uri": tracking_uri}
    shortcuts = [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    begin = time.perf_counter()
    subject = Subject(file=file, overrides=(*(overrides or ()), *shortcuts), address=address, insecure=insecure)
    findings = diagnose(subject)
    duration_s = time.perf_counter() - begin
    usable = all(finding.status != "broken" for finding in findings)
    if as_json:
        document = {"usable": usable, "duration_s": duration_s, "findings": [asdict(finding) for finding in findings]}
        print_json(document)
    else:
        _print(findings, duration_s, only_problems=quiet)
    return 0 if usable else UNUSABLE


def _print(findings: Sequence[Finding], duration_s: float, *, only_problems: bool) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        if only_problems and finding.status in ("ok", "skipped"):
            continue
        print(f"{_WORDS[finding.status]:<6}  {finding.name:<{width}}  {finding.detail}")
        if finding.fix and finding.status in ("warning", "broken"):
            print(f"{'':<6}  {'':<{width}}  fix: {finding.fix}")
        elif finding.fix:
            print(f"{'':<6}  {'':<{width}}  if wanted: {finding.fix}")
    if not only_problems:
        count = {status: sum(finding.status == status for finding in findings) for status in ("broken", "warning")}
        print(f"{count['broken']} broken, {count['warning']} to look at, {duration_s:.0f} s")
