"""The report page in a real browser: on a phone and on a desk, light and dark, printed, without network."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report.made_folder import MadeFolder

import orchestrator.report
from orchestrator.report import write_report
from orchestrator.report.drawing import MARKERS
from orchestrator.report.figures_measures import confusion
from orchestrator.report.figures_ranking import Marked, Place, Priced, Standing, costs, forest, grouped, ranks
from orchestrator.tracking.color import colors

pytestmark = pytest.mark.slow

CSS = Path(orchestrator.report.__file__).with_name("page.css").read_text(encoding="utf-8")

WIDTHS = (390, 800, 1400)
MANY = (
    *("mobilenetv3_small_050.lamb_in1k", "convnext_pico", "tf_efficientnet_lite0", "vit_tiny_patch16_224", "resnet18"),
    *("resnet50", "efficientvit_b0", "deit_tiny", "regnetx_002", "swin_tiny_patch4_window7_224", "ghostnet_100", "pit"),
)

OPEN_ALL = "() => document.querySelectorAll('details').forEach(each => { each.open = true; })"

WIDER_THAN_PAGE = """() => {
  const wide = document.documentElement.clientWidth + 0.5;
  const scrolls = each => each.closest('.scroll, .chart.wide, pre, svg');
  return [...document.body.querySelectorAll('*')].filter(each => !scrolls(each) &&
    each.getBoundingClientRect().right > wide).map(each => each.outerHTML.slice(0, 120));
}"""
"""What sticks out to the right, tables apart, which scroll by themselves."""

CHART_TEXT = """() => [...document.querySelectorAll('svg')].map(svg => {
  const name = svg.parentElement.getAttribute('aria-label'), frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll('text')].filter(each => each.textContent.trim())
    .map(each => ({ said: each.textContent, box: each.getBoundingClientRect(),
      size: parseFloat(getComputedStyle(each).fontSize) * svg.getScreenCTM().a }));
  const found = { name, count: texts.length, frame: frame.width, overlapping: [], outside: [],
    smallest: Math.min(...texts.map(each => each.size)), wide: svg.parentElement.matches('.wide') };
  texts.forEach((one, place) => {
    const a = one.box;
    if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.top < frame.top - 1 || a.bottom > frame.bottom + 1)
      found.outside.push(one.said);
    for (const other of texts.slice(place + 1)) {
      const b = other.box;
      const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (x > 1 && y > 2.5) found.overlapping.push([one.said, other.said]);
    }
  });
  return found;
})"""
"""Of each chart: letters that cover each other, that are cut off, and how small the smallest are, in pixels.

A line's box is higher than its letters, so boxes may touch by a little."""

UNDECODED = """() => Promise.all([...document.images].map(each =>
  each.decode().then(() => each.naturalWidth > 0, () => false))).then(all => all.filter(one => !one).length)"""

COPIED = """index => {
  const table = document.querySelectorAll('table')[index], selection = getSelection();
  selection.removeAllRanges();
  const range = document.createRange();
  range.selectNode(table);
  selection.addRange(range);
  return { text: selection.toString(),
    cells: [...table.rows].map(row => [...row.cells].map(cell => cell.textContent.trim())) };
}"""

TEXT_COLORS = """() => {
  const shown = getComputedStyle(document.body);
  return [shown.color, shown.backgroundColor, getComputedStyle(document.querySelector('.chart svg')).color];
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Addresses of pages by name, each written when it is first asked for."""
    made = {
        "whole": MadeFolder(
            backbones=("timm/a_name_as_long_as_names_are_patch16_224", "timm/b", "timm/broken"),
            failing=("timm/broken",),
            num_random=4,
            num_tpe=2,
            class_names=tuple(f"class number {at}" for at in range(25)),
        ),
    }
    known = {"many": _charts_of_many(tmp_path_factory.mktemp("many"))}

    def address(name: str) -> str:
        if name not in known:
            known[name] = write_report(*made[name].ranked(tmp_path_factory.mktemp(name))).as_uri()
        return known[name]

    return address


def _charts_of_many(folder: Path) -> str:
    """The charts that hold every backbone, of a dozen; a whole sweep of as many would take a minute."""
    looks = [
        {"name": name, "marker": MARKERS[at], "color": color} for at, (name, color) in enumerate(colors(MANY).items())
    ]
    standings, places, marked = [], [], []
    for at, look in enumerate(looks):
        score = 0.9 - 0.01 * at
        standings.append(Standing(**look, score=score, low=score - 0.04, high=score + 0.03, confirmed=score + 0.01))
        places.append(
            Place(**look, rank=at + 1, low=max(1, at), high=min(12, at + 3), found_low=at + 1, found_high=at + 1)
        )
        marked.append(Marked(**look, scores=(score, score - 0.1, None, score - 0.2)))
    priced = [
        [
            Priced(**look, cost=10.0 * ratio ** (at / 11), score=90.0 - at, on_front=at < 2)
            for at, look in enumerate(looks)
        ]
        for ratio in (2, 20, 5000)
    ]
    conditions = ("Quality", "Ease", "Data efficiency", "Robustness")
    charts = [
        forest("forest", standings),
        ranks("ranks", places),
        grouped("grouped", conditions, marked),
        *(costs(f"costs{at}", spots, x="seconds to within a point", y="accuracy") for at, spots in enumerate(priced)),
    ]
    charts.append(confusion("confusion", [f"class {at}" for at in range(12)], np.full((12, 12), 100)))
    file = folder / "many.html"
    body = "".join(f'<div class="chart" aria-label="{at}">{chart}</div>' for at, chart in enumerate(charts))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    file.write_text(f"<!DOCTYPE html><html>{head}<style>{CSS}</style><body>{body}</body></html>", encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize("name", ["whole", "many"])
def test_it_looks_right(name: str, address: Callable[[str], str], new_page: Any) -> None:
    watched = new_page(width=WIDTHS[0], offline=True)
    page = watched.page
    page.goto(address(name))
    page.evaluate(OPEN_ALL)
    assert page.evaluate(UNDECODED) == 0
    num_charts = {"whole": 20, "many": 7}[name]
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert page.evaluate(WIDER_THAN_PAGE) == []
        charts = page.evaluate(CHART_TEXT)
        assert len(charts) >= num_charts
        for chart in charts:
            assert chart["count"] > 2, chart
            assert chart["overlapping"] == [], (width, chart["name"])
            assert chart["outside"] == [], (width, chart["name"])
            assert chart["smallest"] > 9, (width, chart["name"])
    assert watched.console == []
    assert watched.external == []
    assert [one for one in watched.requests if not one.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_are_drawn_in_the_colours_of_the_scheme(
    scheme: str, address: Callable[[str], str], new_page: Any
) -> None:
    page = new_page(color_scheme=scheme).page
    page.goto(address("whole"))
    text, back, drawn = page.evaluate(TEXT_COLORS)
    assert text == drawn
    brightness = [sum(map(int, re.findall(r"\d+", color)[:3])) for color in (text, back)]
    assert (brightness[0] < 150) == (scheme == "light")
    assert (brightness[1] < 150) == (scheme == "dark")


def test_the_answer_is_on_the_first_screen(address: Callable[[str], str], new_page: Any) -> None:
    for width, height in ((390, 844), (1400, 900)):
        page = new_page(width=width, height=height).page
        page.goto(address("whole"))
        bottom = page.evaluate("() => document.querySelector('.lead').getBoundingClientRect().bottom")
        forest = page.evaluate("() => document.querySelector('.chart').getBoundingClientRect().top")
        assert bottom < height
        assert forest < height
        if width == 1400:
            box = page.locator("#t0-verdict .card").first.bounding_box()
            assert box["y"] < height / 2, "the configuration is beside the picture"
            assert page.locator("#t0-verdict code").first.bounding_box()["y"] < height


def test_a_table_is_pasted_as_a_table(address: Callable[[str], str], new_page: Any) -> None:
    page = new_page().page
    page.goto(address("whole"))
    page.evaluate(OPEN_ALL)
    tables = page.evaluate("() => document.querySelectorAll('table').length")
    assert tables > 10
    for index in range(tables):
        found = page.evaluate(COPIED, index)
        lines = [line.split("\t") for line in found["text"].strip("\n").split("\n")]
        assert [[cell.strip() for cell in line] for line in lines] == found["cells"], index


def test_everything_is_printed(address: Callable[[str], str], new_page: Any) -> None:
    """Without opening anything by hand."""
    watched = new_page(width=718, color_scheme="dark")  # A4 less its margins
    page = watched.page
    page.goto(address("whole"))
    closed = page.evaluate("() => document.querySelectorAll('details:not([open])').length")
    assert closed > 10
    folded_up = page.evaluate("() => document.body.scrollHeight")
    page.emulate_media(media="print")
    hidden = """() => [...document.querySelectorAll('figure, table, pre, h5, .missing')].filter(each =>
      !each.checkVisibility({ contentVisibilityAuto: true }) || !each.getBoundingClientRect().height)
      .map(each => each.outerHTML.slice(0, 100))"""
    assert page.evaluate(hidden) == []
    assert page.evaluate("() => document.body.scrollHeight") > folded_up
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 718
    _, back, drawn = page.evaluate(TEXT_COLORS)
    assert (back, drawn) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 5
    assert watched.console == []


def test_the_keyboard_shows_where_it_is(address: Callable[[str], str], new_page: Any) -> None:
    page = new_page(reduced_motion="reduce").page
    page.goto(address("whole"))
    assert page.evaluate("() => getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    seen = set()
    for _ in range(6):
        page.keyboard.press("Tab")
        kind, outline = page.evaluate(
            "() => [document.activeElement.tagName, getComputedStyle(document.activeElement).outlineWidth]"
        )
        assert outline == "2px", kind
        seen.add(kind)
    assert len(seen) > 1


def test_a_link_opens_what_is_folded(address: Callable[[str], str], new_page: Any) -> None:
    page = new_page().page
    page.goto(address("whole") + "#s1-search")
    assert page.locator("#s1-search figure").first.is_visible()
