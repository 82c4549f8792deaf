"""A real Chromium, driven by playwright, for pictures and for tests; and how MLflow's comparison is waited for.

Playwright's own browsers are not used: Debian's is there without a download.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["CHROMIUM", "PATIENCE_MS", "Unavailable", "drawn", "launched", "open_comparison"]

CHROMIUM: Final = "ORCHESTRATOR_CHROMIUM"
"""Environment variable: path of the browser, where it has no usual name."""

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ARGUMENTS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
PATIENCE_MS: Final = 120_000
"""For anything to appear. A server and a browser on two busy cores take their time."""

_DRAWN: Final = """() => [...document.querySelectorAll('.js-plotly-plot')].map(plot => ({
  title: plot.closest('[data-testid="experiment-view-compare-runs-card"]')?.innerText ?? '',
  traces: (plot.data ?? []).map(trace => ({
    type: trace.type, name: trace.name ?? '', uuid: trace.uuid ?? '', marker: trace.marker?.color ?? null,
    line: typeof trace.line?.color === 'string' ? trace.line.color : null,
    x: [...(trace.x ?? [])], y: [...(trace.y ?? [])],
  })),
}))"""


class Unavailable(Exception):
    """There is no browser, or nothing that drives one."""


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """
    Raises:
        Unavailable: with the reason.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise Unavailable("playwright is not installed; it is in the extra dev") from error
    path = os.environ.get(CHROMIUM) or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        raise Unavailable(f"no Chromium: none of {', '.join(_NAMES)} is installed, and {CHROMIUM} names none")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS), timeout=PATIENCE_MS)
        try:
            yield browser
        finally:
            browser.close()


def open_comparison(page: Page, url: str, *, num_charts: int) -> None:
    """Go to a comparison and wait until so many charts have traces."""
    page.goto(url)
    enough = """num => [...document.querySelectorAll('.js-plotly-plot, .parcoords')]
      .filter(plot => plot.matches('.parcoords') || plot.data?.some(trace => trace.x?.length)).length >= num"""
    page.wait_for_function(enough, arg=num_charts)


def drawn(page: Page) -> list[dict[str, Any]]:
    """What plotly drew: charts with their traces."""
    charts: list[dict[str, Any]] = page.evaluate(_DRAWN)
    return charts
