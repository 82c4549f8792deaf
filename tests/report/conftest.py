"""One made-up sweep, its report, and what a browser's parser makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from made_folder import BACKBONES, HOSTILE, IMPORTANCES, MadeFolder
from parsed import Page, parse

from orchestrator.folder import SweepFolder
from orchestrator.ranking import Ranking, RankingOptions
from orchestrator.ranking.profile import ProfileTables, profile_tables
from orchestrator.report import write_report


@pytest.fixture(scope="package", autouse=True)
def _profiled_once() -> Iterator[None]:
    """Profiles are a pure function of the tables and cost seconds: the same tables get the same ones."""
    known: dict[tuple[Any, ...], ProfileTables] = {}

    def once(trials: pa.Table, tests: pa.Table, options: RankingOptions | None = None) -> ProfileTables:
        key = (*trials["study"].to_pylist(), *trials["val_score"].to_pylist(), *tests["test_score"].to_pylist())
        if key not in known:
            known[key] = profile_tables(trials, tests, options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.report.reading.profile_tables", once)
        yield


@pytest.fixture(scope="package")
def made() -> MadeFolder:
    """Every text that a stranger may choose holds markup."""
    return MadeFolder(
        backbones=BACKBONES,
        class_names=("ant", f"bee{HOSTILE}", '猫" onload="alert(1)'),
        error=f"Traceback:\nRuntimeError: {HOSTILE} lost s3://key:hunter2@bucket",
    )


@pytest.fixture(scope="package")
def swept(made: MadeFolder, tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepFolder, Ranking]:
    return made.ranked(tmp_path_factory.mktemp("swept"))


@pytest.fixture(scope="package")
def report(swept: tuple[SweepFolder, Ranking]) -> Path:
    return write_report(*swept, importances=IMPORTANCES)


@pytest.fixture(scope="package")
def page(report: Path) -> Page:
    return parse(report)
