"""MLflow's pages of a real sweep, served by ``ui`` and looked at in a real browser.

One small sweep and one server serve all tests, as starting them takes most of the time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from mlflow_server import free_port
from shell import Shell
from watched_page import Watched, watched

from benchmarks.browser import PATIENCE_MS, drawn, open_comparison
from orchestrator.tracking.color import colors
from orchestrator.tracking.link import CURVES_VIEW, RANKING_VIEW, TABLE_VIEW, TRIALS_VIEW, VIEWS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

pytestmark = pytest.mark.slow

BACKBONES = ("timm/test_resnet@random", "timm/test_vit@random", "timm/test_convnext@random")
SHORT = {"test_resnet", "test_vit", "test_convnext"}
TRIALS = 4
SWEEP: dict[str, Any] = {
    "name": "seen",
    "tasks": [{"name": "digits", "num_train": 80, "num_val": 60, "num_test": 80, "image_size": 32}],
    "backbones": list(BACKBONES),
    "budget": {"trials": TRIALS, "random_trials": TRIALS, "max_epochs": 2, "grace_epochs": 1, "reduction_factor": 2},
    "confirmation": {"seeds": 2},
    "finetune": {"batch_size": 20},
    "resources": {"gpus_per_trial": 0, "max_concurrent": 1},  # a worker takes ten seconds of a CPU to load
    "evaluation": {"perturbations": "all", "num_perturbed": 10, "num_attacked": 0, "num_drifted": 0},
}
NUM_CHARTS = {RANKING_VIEW: 8, TRIALS_VIEW: 6, CURVES_VIEW: 3}
TALL = {"width": 1440, "height": 1800}
"""MLflow draws only charts that are in sight."""

MLFLOWS_OWN = ("ajax-api/2.0/mlflow/users/current", "Failed to load resource", "ResizeObserver loop")
"""What MLflow's pages complain of by themselves, in every experiment."""


@dataclass(frozen=True)
class Serving:
    """``ui --json`` while it serves."""

    document: dict[str, Any]
    process: subprocess.Popen[str]
    shell: Shell

    @property
    def pages(self) -> dict[str, Any]:
        [task] = self.document["tasks"]
        return dict(task)


@pytest.fixture(scope="module")
def serving(browser: Browser, new_shell: Callable[[str], Shell]) -> Iterator[Serving]:
    """After `browser`, without which all this is skipped."""
    shell = new_shell("seen")
    done = shell.run("sweep", shell.write(SWEEP), "--quiet")
    assert done.code == 0, done.err
    process = shell.start("ui", "--json", "--port", str(free_port()))
    try:
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            text += line
            if line == "}\n":
                break
        assert text, process.communicate()
        yield Serving(json.loads(text), process, shell)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """One profile for most tests: MLflow's scripts take a browser seconds, the first time."""
    context = browser.new_context(viewport=TALL)
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def page(profile: BrowserContext) -> Iterator[Watched]:
    seen = watched(profile.new_page())
    yield seen
    said = [one for one in (*seen.console, *seen.failed) if not one.startswith("warning: ")]
    assert [one for one in said if not any(known in one for known in MLFLOWS_OWN)] == []
    assert seen.external == []
    seen.page.close()


def test_a_fresh_browser_lands_on_the_comparison_with_question_and_answer(
    serving: Serving, new_page: Callable[..., Watched]
) -> None:
    seen = new_page(**TALL)
    open_comparison(seen.page, next(iter(serving.pages["views"].values())), num_charts=NUM_CHARTS[RANKING_VIEW])
    assert RANKING_VIEW in seen.page.get_by_test_id("saved-views-trigger").inner_text()
    assert "Which backbone adapts best to digits?" in seen.page.inner_text("body")
    assert "of 3 backbones" in seen.page.inner_text("body")
    assert seen.external == []


def test_the_link_names_every_view(serving: Serving) -> None:
    assert tuple(serving.pages["views"]) == VIEWS
    assert serving.document["started"]


@pytest.mark.parametrize("view", [RANKING_VIEW, TRIALS_VIEW])
def test_an_ungrouped_view_shows_every_run_in_its_backbones_colour(serving: Serving, page: Watched, view: str) -> None:
    open_comparison(page.page, serving.pages["views"][view], num_charts=NUM_CHARTS[view])
    charts = drawn(page.page)
    assert len(charts) + page.page.locator(".parcoords").count() == NUM_CHARTS[view]
    expected = {color.upper() for color in colors(BACKBONES).values()}
    num_runs = {RANKING_VIEW: len(BACKBONES), TRIALS_VIEW: TRIALS * len(BACKBONES)}[view]
    for chart in charts:
        assert chart_colors(chart) == expected, chart["title"]
        points = max(len(trace["x"]) for trace in chart["traces"])
        lines = {trace["name"] for trace in chart["traces"]}
        assert "lr_log10" in chart["title"] or max(points, len(lines)) == num_runs, chart["title"]
    assert "No chart data" not in page.page.inner_text("body")
    assert f"{num_runs} matching runs" in page.page.inner_text("body")


def chart_colors(chart: dict[str, Any]) -> set[str]:
    """Of bars and points, or of lines; a line has its band beside it, in the same colour and two digits more."""
    found: set[str] = set()
    for trace in chart["traces"]:
        marker, line = trace["marker"], trace["line"]
        found |= set(marker) if isinstance(marker, list) else {marker or line}
    return {color[:7].upper() for color in found if color and color.startswith("#")}


def test_mean_curves_are_grouped_by_backbone(serving: Serving, page: Watched) -> None:
    open_comparison(page.page, serving.pages["views"][CURVES_VIEW], num_charts=NUM_CHARTS[CURVES_VIEW])
    charts = drawn(page.page)
    assert len(charts) == NUM_CHARTS[CURVES_VIEW]
    for chart in charts:
        legend = " ".join(trace["name"] for trace in chart["traces"]) + chart["title"]
        assert all(short in legend for short in SHORT), chart
    text = page.page.inner_text("body")
    assert text.count("Group: ") == len(BACKBONES)
    assert "No chart data" not in text


def test_the_table_lists_every_trial_with_its_score_first(serving: Serving, page: Watched) -> None:
    page.page.goto(serving.pages["views"][TABLE_VIEW])
    rows = page.page.locator(".ag-center-cols-container .ag-row")
    page.page.wait_for_function(
        "num => document.querySelectorAll('.ag-center-cols-container .ag-row').length >= num",
        arg=TRIALS * len(BACKBONES),
    )
    assert rows.count() == TRIALS * len(BACKBONES)
    text = page.page.inner_text(".ag-root")
    assert all(short in text for short in SHORT)
    headers = [one for one in page.page.locator(".ag-header-cell").all_inner_texts() if "/" in one or one == "model"]
    assert headers[:2] == ["final/val_score", "model"]


def test_the_plain_link_needs_no_saved_view(serving: Serving, page: Watched) -> None:
    page.page.set_viewport_size({"width": 1440, "height": 700})  # there is a chart for every metric
    open_comparison(page.page, serving.pages["plain"], num_charts=3)
    assert f"{len(BACKBONES)} matching runs" in page.page.inner_text("body")
    assert {len(trace["y"]) for chart in drawn(page.page) for trace in chart["traces"]} == {len(BACKBONES)}


def test_the_report_shows_in_place(serving: Serving, page: Watched) -> None:
    page.page.goto(serving.pages["report"])
    inside = page.page.frame_locator("iframe")
    inside.locator("h1").wait_for()
    assert all(short in inside.locator("body").inner_text() for short in SHORT)


def test_a_second_ui_finds_the_first(serving: Serving) -> None:
    port = serving.document["url"].rpartition(":")[2]
    done = serving.shell.run("ui", "--json", "--port", port)
    assert done.code == 0, done.err
    assert done.document == {**serving.document, "started": False}
    assert "shows this database already" in done.err


def test_sigterm_ends_every_process(serving: Serving) -> None:
    """Last: nothing is served any more."""
    serving.process.send_signal(signal.SIGTERM)
    assert serving.process.wait(60) == 0
    with pytest.raises(OSError):
        urllib.request.urlopen(serving.document["url"], timeout=5)
