"""What a sweep found, from its tables alone: the ranking, its files, the exit code."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.folder import SweepFolder, write_whole
from orchestrator.race_report import race_ends
from orchestrator.ranking import Ranking, rank

__all__ = [
    "ALL_FAILED",
    "SOME_FAILED",
    "exit_code",
    "rank_sweep",
    "ranking_document",
    "verdict_texts",
    "write_ranking",
]

ALL_FAILED: Final = 1
SOME_FAILED: Final = 3


def rank_sweep(folder: SweepFolder) -> Ranking:
    """Rank what the folder's tables hold so far. Pure apart from reading them."""
    trials, _, tests = folder.tables()
    return rank(trials, tests, races=race_ends(folder.read_facts(), trials))


def write_ranking(folder: SweepFolder, ranking: Ranking) -> dict[str, Path]:
    """Write the ranking as csv, json and Parquet, and the trials as Parquet, for other programs.

    Returns:
        The files by name.
    """
    files = {name: folder.path / name for name in ("ranking.csv", "ranking.json", "ranking.parquet")}
    text = io.StringIO()
    writer = csv.DictWriter(text, ranking.table.column_names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(ranking.table.to_pylist())
    write_whole(files["ranking.csv"], text.getvalue())
    document = json.dumps(ranking_document(folder, ranking), indent=2)
    write_whole(files["ranking.json"], document + "\n")
    pq.write_table(ranking.table, files["ranking.parquet"])
    files["trials.parquet"] = folder.path / "trials.parquet"
    pq.write_table(folder.trials.read(), files["trials.parquet"])
    return files


def ranking_document(folder: SweepFolder, ranking: Ranking) -> dict[str, Any]:
    """The ranking as one JSON document."""
    return {
        "sweep": folder.sweep_id,
        "path": str(folder.path),
        "ranking": ranking.table.to_pylist(),
        "pairs": ranking.pairs.to_pylist(),
        "verdicts": [dataclasses.asdict(verdict) for verdict in ranking.verdicts],
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
