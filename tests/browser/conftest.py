"""A real browser for tests. They are skipped, with the reason, where there is none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from watched_page import Watched, watched

from benchmarks.browser import PATIENCE_MS, Unavailable, launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext


NewPage = Callable[..., Watched]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a session; each page is in a profile of its own."""
    with contextlib.ExitStack() as ending:
        try:
            started = ending.enter_context(launched())
        except Unavailable as reason:
            pytest.skip(str(reason))
        yield started


@pytest.fixture
def new_page(browser: Browser) -> Iterator[NewPage]:
    """Makes a page in a fresh profile: ``new_page(width=390, height=844, color_scheme="dark")``.

    All that is named besides the size is for playwright's `Browser.new_context`, e.g. ``offline=True``,
    ``java_script_enabled=False``, ``reduced_motion="reduce"``.
    """
    made: list[BrowserContext] = []

    def new_page(*, width: int = 1280, height: int = 900, **options: Any) -> Watched:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        made.append(context)
        context.set_default_timeout(PATIENCE_MS)
        return watched(context.new_page())

    yield new_page
    for context in made:
        context.close()
