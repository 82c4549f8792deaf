"""What a sweep found, from its tables alone: the ranking, its files, the exit code."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from orchestrator.evaluated import Evaluated, read_evaluations
from orchestrator.folder import SweepFolder, write_whole
from orchestrator.markdown_page import ranking_page
from orchestrator.progress import planned_runs
from orchestrator.race_report import race_ends
from orchestrator.ranking import (
    ProfileTables,
    Ranking,
    RankingOptions,
    aggregate,
    fallen,
    profile_tables,
    rank,
    superseded,
)
from orchestrator.ranking.options import PRESETS
from orchestrator.screen_report import foretold

if TYPE_CHECKING:
    from orchestrator.importance import Importance

__all__ = [
    "ALL_FAILED",
    "SOME_FAILED",
    "asked_options",
    "counted_evaluations",
    "exit_code",
    "one_thread",
    "profile_document",
    "profile_sweep",
    "rank_sweep",
    "ranking_document",
    "scores_document",
    "verdict_texts",
    "write_ranking",
]

ALL_FAILED: Final = 1
SOME_FAILED: Final = 3


def rank_sweep(folder: SweepFolder, options: RankingOptions | None = None) -> Ranking:
    """Rank what the folder's tables hold so far. Pure apart from reading them.

    Args:
        options: None is what the sweep's file asked for.
    """
    trials, _, tests = folder.tables()
    facts = folder.read_facts()
    with one_thread():
        return rank(
            trials,
            tests,
            options=options or asked_options(facts),
            races=race_ends(facts, trials),
            planned=planned_runs(facts),
        )


def one_thread() -> AbstractContextManager[Any]:
    """Keeps BLAS to one thread: over the small matrices of a surface several wait for each other, at ten times the
    CPU time."""
    limited: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limited


def asked_options(facts: Mapping[str, Any]) -> RankingOptions:
    """What the section ``ranking`` of a sweep's file says, by `sweep.json`."""
    asked = facts.get("ranking", {})
    return RankingOptions(weights={**PRESETS[asked.get("preset", "default")], **asked.get("weights", {})})


def counted_evaluations(folder: SweepFolder) -> list[Evaluated]:
    """What was measured of the confirmations that count, neither superseded nor collapsed: what a backbone's means
    are over."""
    trials, _, tests = folder.tables()
    with one_thread():
        out = superseded(trials)
    out |= fallen(trials, tests, out)
    return [evaluated for run, evaluated in read_evaluations(folder).items() if run not in out]


def write_ranking(folder: SweepFolder, ranking: Ranking) -> dict[str, Path]:
    """Write the ranking as Markdown for people, as csv, json and Parquet, and trials and measures as Parquet.

    Returns:
        The files by name.
    """
    files = {name: folder.path / name for name in ("ranking.csv", "ranking.json", "ranking.parquet")}
    text = io.StringIO()
    writer = csv.DictWriter(text, ranking.table.column_names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(ranking.table.to_pylist())
    write_whole(files["ranking.csv"], text.getvalue())
    files["ranking.md"] = folder.path / "ranking.md"
    write_whole(files["ranking.md"], ranking_page(f"Ranking of {folder.sweep_id}", ranking))
    document = json.dumps(ranking_document(folder, ranking), indent=2)
    write_whole(files["ranking.json"], document + "\n")
    tables = {
        "ranking.parquet": ranking.table,
        "trials.parquet": folder.trials.read(),
        "measures.parquet": folder.measures_table(),
    }
    for name, table in tables.items():
        files[name] = folder.path / name
        _write_parquet(table, files[name])
    return files


def _write_parquet(table: pa.Table, file: Path) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_whole(file, sink.getvalue().to_pybytes())


def ranking_document(folder: SweepFolder, ranking: Ranking) -> dict[str, Any]:
    """The ranking as one JSON document."""
    return {
        "sweep": folder.sweep_id,
        "path": str(folder.path),
        **_ranked(ranking),
        "screen": [dataclasses.asdict(screened) for screened in foretold(folder.screen.read(), ranking.table)],
    }


def profile_sweep(folder: SweepFolder) -> tuple[ProfileTables, list[Importance]]:
    """What there is to know of each backbone beside its place, and how much each searched parameter mattered."""
    from orchestrator.importance import importances  # here: Optuna is much to import for a ranking

    trials, _, tests = folder.tables()
    with one_thread():
        return profile_tables(trials, tests, asked_options(folder.read_facts())), importances(trials)


def profile_document(folder: SweepFolder) -> dict[str, Any]:
    """The same as one JSON document, without curves and maps."""
    profiled, importances = profile_sweep(folder)
    return {
        "profiles": profiled.profiles.to_pylist(),
        "cost_leaders": profiled.cost_leaders.to_pylist(),
        "importances": [dataclasses.asdict(one) for one in importances],
    }


def scores_document(source: str, ranking: Ranking) -> dict[str, Any]:
    """The ranking of a table of scores as one JSON document."""
    return {"source": source, **_ranked(ranking)}


def _ranked(ranking: Ranking) -> dict[str, Any]:
    over_all = aggregate(ranking) if len(ranking.scores) > 1 else None
    return {
        "ranking": ranking.table.to_pylist(),
        "pairs": ranking.pairs.to_pylist(),
        "verdicts": [dataclasses.asdict(verdict) for verdict in ranking.verdicts],
        "aggregate": over_all and {"table": over_all.table.to_pylist(), "sentences": list(over_all.sentences)},
    }


def verdict_texts(ranking: Ranking) -> dict[str, str]:
    """The outcome of each task in words."""
    return {verdict.task: " ".join(verdict.sentences) for verdict in ranking.verdicts}


def exit_code(trials: pa.Table) -> int:
    """0 nothing failed, 1 every run failed or there is none, 3 some failed."""
    failed = pc.sum(pc.equal(trials["state"], "failed")).as_py() or 0
    if failed == len(trials):
        return ALL_FAILED
    return SOME_FAILED if failed else 0
