"""One run on stdout, as a page for whoever wants to understand it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.display.curves import print_curves
from orchestrator.display.measured import print_measures
from orchestrator.display.scores import metric_name, score_text
from orchestrator.runs.page import RunPage

__all__ = ["print_run_page", "wrapped_command"]

_PHASES: Final = {
    "random": "random trial",
    "tpe": "trial suggested by TPE",
    "thompson": "trial suggested by Thompson sampling",
    "confirmation": "confirmation: the chosen configuration with a fresh seed",
    "reduced": "the chosen configuration on fewer samples",
}


def print_run_page(page: RunPage, console: Console) -> None:
    """Headline, error, parameters, frozen proof, curves, attempts, measures, files, link, and how to do it again."""
    run = page.run
    print_line(Text(f"#{run['number']} {run['backbone']} on {run['task']}: {run['state']}", style="bold"), console)
    for line in _headlines(page):
        print_line(line, console)
    _print_error(page, console)
    _print_section("parameters", _parameters(page), console)
    _print_rest(page, console)
    _print_section("frozen", _frozen(page), console)
    if page.curve:
        _heading("curves", console)
        print_curves(page.curve, run.get("metric"), page.best, console)
    _print_section("attempts", _attempts(page), console)
    if page.evaluated is not None:
        _heading("measured", console)
        print_measures(page.evaluated, console)
    _print_files(page, console)
    _print_link(page, console)
    _print_command(page, console)
    console.print()


def wrapped_command(words: Sequence[str], width: int) -> str:
    """A command over as many lines as it takes, to be copied as it stands. An option stays beside its values.

    Args:
        words: not yet quoted.
        width: characters of a line, where a single option is no longer.
    """
    units: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--"):
            units.append([])
        units[-1].append(word)
    lines, line = [], ""
    for text in (shlex.join(unit) for unit in units if unit):
        if line and len(line) + len(text) + 3 > width:
            lines.append(line)
            line = ""
        line = f"{line} {text}" if line else text if not lines else f"    {text}"
    return " \\\n".join([*lines, line])


def print_line(line: str | Text, console: Console, *, whole: bool = False) -> None:
    """Wrapped where a terminal sets the width.

    Args:
        whole: never wrapped: paths and addresses, to be copied.
    """
    console.print(line, highlight=False, markup=False, soft_wrap=whole or not console.is_terminal)


def _heading(title: str, console: Console) -> None:
    console.print()
    console.print(Text(title, style="bold"))


def _print_section(title: str, rows: Sequence[tuple[str, str, str]], console: Console) -> None:
    """Names, values, and what there is to say of them; nothing where there is none."""
    if not rows:
        return
    _heading(title, console)
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    if any(said for _, _, said in rows):
        table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row[: len(table.columns)]))
    console.print(table)


def _headlines(page: RunPage) -> Iterator[str]:
    run = page.run
    phase = run.get("phase")
    what = [] if phase is None else [_PHASES[phase]]
    if page.depth is not None:
        what.append(page.depth)
    if page.is_chosen:
        what.append("chosen on validation for this backbone")
    if run["superseded"]:
        what.append("superseded: in no result, as another configuration was chosen after more trials")
    yield "; ".join(what) or "what it was to do is not known"
    metric, best = run.get("metric"), page.best
    if best is not None:
        scored = f"val {metric_name(metric)} {score_text(best['val_score'], metric)} at epoch {best['epoch']}"
        tested = ""
        if page.test is not None:
            test = page.test
            name, score = metric_name(test["metric"]), score_text(test["test_score"], test["metric"])
            chance = score_text(test["chance"], test["metric"])
            tested = f"; test {name} {score} (n = {test['num_test']}, chance {chance})"
        yield scored + tested
    yield _spent(page)


def _spent(page: RunPage) -> str:
    run = page.run
    last = run.get("max_epochs")
    parts = [f"{run['epochs']}{f' of {last}' if last else ''} epochs"]
    if run.get("duration_s") is not None:
        training = "" if run.get("train_s") is None else f", {run['train_s']:.1f} s of them training"
        parts.append(f"in {run['duration_s']:.1f} s{training}")
    text = " ".join(parts)
    if run.get("started_at") is not None:
        text += f"; from {run['started_at']:%Y-%m-%d %H:%M:%S} UTC"
    where = [f"{sign}{run[name]}" for name, sign in (("device", ""), ("node", "node ")) if run.get(name)]
    memory = f", {run['memory_mib']:.0f} MiB of the GPU's memory at most" if run.get("memory_mib") else ""
    return text + (f" on {', '.join(where)}" if where else "") + memory


def _print_error(page: RunPage, console: Console) -> None:
    if page.run.get("error"):
        _heading("error", console)
        print_line(str(page.run["error"]), console)
    if page.traceback is not None:
        file, tail = page.traceback
        if not page.run.get("error"):
            _heading("error of an attempt", console)
        print_line(f"the end of {file}:", console, whole=True)
        for line in tail.splitlines():
            print_line(f"  {line}", console)


def _parameters(page: RunPage) -> list[tuple[str, str, str]]:
    """What was searched or set; `_print_rest` names the others."""
    return [
        (parameter.name, parameter.text, parameter.meaning + (" (searched)" if parameter.is_searched else ""))
        for parameter in page.parameters
        if parameter.unused is None and (parameter.is_searched or not parameter.is_default or parameter.name in _ALWAYS)
    ]


_ALWAYS: Final = ("learning_rate", "head_learning_rate", "batch_size", "max_epochs", "seed")


def _print_rest(page: RunPage, console: Console) -> None:
    shown = {name for name, _, _ in _parameters(page)}
    rest = [f"{one.name} {one.text}" for one in page.parameters if one.unused is None and one.name not in shown]
    if rest:
        print_line(f" by default: {', '.join(rest)}", console)
    reasons: dict[str, list[str]] = {}
    for one in page.parameters:
        if one.unused is not None and (one.is_searched or not one.is_default or "block" in one.unused):
            reasons.setdefault(one.unused, []).append(one.name)
    for reason, names in reasons.items():
        print_line(f" unused, as {reason}: {', '.join(names)}", console)
    for line in _data(page):
        print_line(f" {line}", console)


def _data(page: RunPage) -> Iterator[str]:
    run, study, task = page.run, page.study, page.task
    if study:
        counts = ", ".join(f"{study[f'num_{split}']} {split}" for split in ("train", "val", "test"))
        share = run.get("train_frac", 1.0)
        of = f"; trained on {100 * share:g} % of the training samples" if share is not None and share < 1 else ""
        place = "" if task is None else f"{task.data}, "
        yield f"data: {place}{counts} samples{of}; {study['input']}; digest {study['digest'][:12]}"
    if page.execution:
        settings = {name: value for name, value in page.execution.items() if name != "cpus_per_trial"}
        said = ", ".join(f"{name} {value}" for name, value in settings.items())
        threads = page.execution["cpus_per_trial"]
        yield f"computed by {threads} CPU thread{'s' * (threads > 1)}" + (f", {said}" if said else "")


def _frozen(page: RunPage) -> list[tuple[str, str, str]]:
    run = page.run
    rows = []
    if run.get("num_params") is not None:
        trained, all_ = run["num_params_trainable"], run["num_params"]
        share = 100 * trained / all_
        said = f"{share:.1f}" if share >= 1 else f"{share:.2g}"
        rows.append(("parameters", f"{trained:,} of {all_:,} trained ({said} %), {all_ - trained:,} frozen", ""))
    if run.get("frozen_digest"):
        rows.append(("digest", f"{str(run['frozen_digest'])[:16]} {_proof(run)}", ""))
    return rows


def _proof(run: Mapping[str, Any]) -> str:
    if (run["freeze_depth"], run["tune_stop"]) == (0, run["num_blocks"]):
        return "of nothing: no block is frozen"
    what = "of all frozen parameters and buffers"
    if not run["epochs"]:
        return f"{what}, before the first epoch: it failed before one could prove them unchanged"
    return f"{what}: unchanged over {run['epochs']} epoch{'s' * (run['epochs'] > 1)}"


def _attempts(page: RunPage) -> list[tuple[str, str, str]]:
    if len(page.attempts) < 2 and not any(row["cause"] for row in page.attempts):
        return []
    return [
        (
            str(row["attempt"]),
            f"{row['started_at']:%Y-%m-%d %H:%M:%S} UTC",
            "" if row["cause"] is None else f"after: {row['cause']}",
        )
        for row in page.attempts
    ]


def _print_files(page: RunPage, console: Console) -> None:
    if page.files:
        _heading("files", console)
    width = max(map(len, page.files), default=0)
    for what, path in page.files.items():
        print_line(f" {what:<{width}}  {path}", console, whole=True)


def _print_link(page: RunPage, console: Console) -> None:
    link = page.link
    _heading("MLflow", console)
    if link.needs_server:
        print_line(f" first: {page.serve}", console, whole=True)
    print_line(f" {link.url}", console, whole=True)
    if not link.is_found:
        print_line(f" search for: {link.filter}", console, whole=True)
        print_line(f" what MLflow has missed is written by: {page.report}", console, whole=True)


def _print_command(page: RunPage, console: Console) -> None:
    _heading("to run it again, alone", console)
    if page.command is None:
        print_line(f" not possible: {page.no_command}", console)
        return
    width = console.width if console.is_terminal else 100
    print_line(wrapped_command(page.command, width), console, whole=True)
    for note in _notes(page):
        print_line(f" {note}", console)


def _notes(page: RunPage) -> Iterator[str]:
    run = page.run
    if run["state"] == "stopped":
        yield f"The sweep stopped it after epoch {run['epochs']}; alone it goes on to epoch {run['max_epochs']}."
    if run.get("phase") == "confirmation" and page.command is not None and "--evaluate" in page.command:
        yield "--evaluate measures all else as well; without it the same scores are there sooner."
