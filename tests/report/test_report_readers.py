"""What a reader can rely on: captions that say what a figure rests on, headings, words for pictures, contrast, numbers
that can be copied. The same of every page, whatever the sweep had."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from made_folder import MadeFolder
from parsed import Page, parse

import orchestrator.report
from orchestrator.report import write_report
from orchestrator.report.drawing import MARKERS
from orchestrator.tracking.color import PALETTE

CSS = Path(orchestrator.report.__file__).with_name("page.css").read_text(encoding="utf-8")
NUMBER = r"-?\d+(\.\d+)?(e[+-]\d+)?"
TIME = r"\d+ h \d\d min|\d+ min \d\d s|" + NUMBER + r" (ms|s)"
NUMERIC = re.compile(
    rf"|-|{NUMBER}|{NUMBER} [TGMk]|[<>]? ?\d+ %|\d+ to \d+|\d+ of \d+(, and from \d+ on)?|{TIME}"
    r"|#\d+|yes|no|[+-]\d\.\d\d|not in the score"
)


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Two tasks, a backbone that failed, confirmations that collapsed, nothing evaluated."""
    made = MadeFolder(
        backbones=("timm/a", "timm/broken"),
        failing=("timm/broken",),
        tasks=("digits", "moons"),
        num_confirmations=4,
        collapse=0.3,
        evaluated=False,
        screened=False,
        num_tpe=2,
    )
    return parse(write_report(*made.ranked(tmp_path_factory.mktemp("lacking"))))


@pytest.fixture(params=["whole", "lacking"])
def any_page(request: pytest.FixtureRequest) -> Page:
    found: Page = request.getfixturevalue({"whole": "page", "lacking": "lacking"}[request.param])
    return found


def test_every_figure_says_what_it_rests_on(any_page: Page) -> None:
    figures = list(any_page.root.all("figure"))
    assert len(figures) >= 8
    for figure in figures:
        [caption] = figure.all("figcaption")
        assert figure.children[-1] is caption or "".join(str(child) for child in figure.children[-1:]).isspace()
        basis = {item.attributes["data-basis"]: item.text for item in caption.all("li")}
        where = caption.text
        assert list(basis) == ["num", "seeds", "budget", "unmeasured"], where
        own = caption.text.removesuffix(" ".join(basis.values()))
        assert len(own) > 15, where
        assert re.fullmatch(r"n .*\d.*", basis["num"]), where
        assert re.search(r"\d+ confirmations?\b|no confirmation", basis["seeds"]), where
        assert re.search(r"\d+ trials?\b", basis["budget"]), where
        assert len(basis["unmeasured"].removeprefix("not measured ")) > 8, where


def test_a_figure_of_part_of_the_test_set_says_so(page: Page) -> None:
    """Of 400 samples fewer are perturbed, and as many as there are explained, whatever was asked for."""
    for what, num in (
        ("on perturbed inputs, mild", "n 100 test samples"),
        ("features of", "n 8 blocks, 64 test samples"),
        ("Right answers of", "n 400 test samples in"),
    ):
        found = [caption for caption in page.root.all("figcaption") if what in caption.text]
        assert len(found) == 2, what
        assert all(num in caption.text for caption in found), what
    captions = [table["aria-label"] for table in page.all("table")]
    for what, num in (("under attack", "8 test samples"), ("Explanations of", "400 test samples")):
        assert sum(what in caption and num in caption for caption in captions) == 2, what


def test_a_picture_is_told_in_words_with_its_numbers(any_page: Page) -> None:
    charts = [node for node in any_page.root.all("div") if node.attributes.get("role") == "img"]
    assert len(charts) == len(any_page.all("svg")) >= 8
    told = [chart.attributes["aria-label"] for chart in charts]
    for text in told:
        assert re.search(r"\d", text), text
        assert not re.match(r"(?i)(a )?(chart|figure|graph|plot|image|picture)\b", text), text
    assert all(svg.attributes["aria-hidden"] == "true" for svg in any_page.root.all("svg"))
    assert all(len(picture["alt"]) > 5 for picture in any_page.all("img"))


def test_headings_have_no_gaps(any_page: Page) -> None:
    heads = list(any_page.root.all("h1", "h2", "h3", "h4", "h5", "h6"))
    levels = [int(node.tag[1]) for node in heads]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert [(a, b) for a, b in pairwise(levels) if b > a + 1] == []
    assert all(node.text for node in heads)
    [html] = any_page.all("html")
    assert html["lang"] == "en"


def test_tables_have_headers_and_whole_rows(any_page: Page) -> None:
    tables = list(any_page.root.all("table"))
    assert len(tables) > 5
    for table in tables:
        where = table.attributes["aria-label"]
        [head, *rows] = table.all("tr")
        titles = list(head.all("th"))
        assert all(title.attributes["scope"] == "col" and title.text for title in titles), where
        for row in rows:
            assert [cell.attributes.get("scope") for cell in row.all("th")] == ["row"], where
            assert len(list(row.all("th", "td"))) == len(titles), where


def test_numbers_in_tables_can_be_copied(any_page: Page) -> None:
    cells = [cell for cell in any_page.root.all("td") if "word" not in cell.attributes.get("class", "")]
    assert len(cells) > 50
    assert sorted({cell.text for cell in cells if not NUMERIC.fullmatch(cell.text)}) == []
    numbers = [cell.text for cell in cells if re.fullmatch(NUMBER, cell.text)]
    assert len(numbers) > len(cells) / 3
    for text in numbers:
        float(text)
    for character in ("\u2212", "\u2009", "\u202f", "\u00a0", "\u2013"):
        assert character not in any_page.text


def test_the_first_screen_has_the_answer(page: Page, any_page: Page) -> None:
    verdicts = [node for node in any_page.root.all("section") if node.attributes["id"].endswith("-verdict")]
    assert verdicts
    for verdict in verdicts:
        first, *_ = verdict.all("p")
        assert first.attributes["class"] == "lead"
        titles = [node.text for node in verdict.all("h3", "h4") if node.text != "Verdict"]
        assert titles[0].startswith("Take ")
        assert titles[1:4] == ["What it cost", "What was not measured", "Ranking"]
        text = verdict.text
        for words in (
            "Learning rate of the head",
            "Frozen blocks",
            "python -m orchestrator export made-20260301-120000",
        ):
            assert words in text
    [verdict] = [node for node in page.root.all("section") if node.attributes["id"] == "t0-verdict"]
    [missing] = [card for card in verdict.all("div") if card.text.startswith("What was not measured")]
    assert "nothing that this version can measure" in missing.text


def test_what_was_not_measured_is_in_one_place(lacking: Page) -> None:
    cards = [node for node in lacking.root.all("div") if node.attributes.get("class", "").startswith("card")]
    texts = [card.text for card in cards if card.text.startswith("What was not measured")]
    assert len(texts) == 2
    for text in texts:
        for what in ("robustness to perturbed inputs", "calibration", "LogME, LEEP, H-score and kNN", "(of broken)"):
            assert what in text, text


def test_commands_can_be_pasted(page: Page) -> None:
    """The name of the best backbone holds what a shell would take for itself."""
    commands = [code.text for node in page.root.all("dl") for code in node.all("code")]
    assert len(commands) == 3
    assert commands[0].endswith("--backbone 'timm/vit<script>alert(1);@random'")
    assert "user-select: all" in CSS


def test_markers_tell_backbones_apart_without_colour() -> None:
    assert len(set(MARKERS)) == len(MARKERS) >= 12
    pairs = [(MARKERS[place % len(MARKERS)], place % len(PALETTE)) for place in range(24)]
    assert len(set(pairs)) == 24


def variables(scheme: str) -> dict[str, tuple[float, float, float]]:
    light, dark, printed = re.findall(r":root \{([^}]*)\}", CSS)
    chosen = {"light": light, "dark": dark, "print": printed}[scheme]
    found = dict(re.findall(r"--(\w+): #([0-9a-f]{6});", chosen))
    assert len(found) == 7
    return {name: (int(v[:2], 16), int(v[2:4], 16), int(v[4:], 16)) for name, v in found.items()}


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG 2.2's ratio."""

    def luminance(color: tuple[float, ...]) -> float:
        linear = [c / 12.92 if (c := part / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for part in color]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_contrast(scheme: str) -> None:
    colors = variables(scheme)
    ratios = {
        (front, back): contrast(colors[front], colors[back])
        for front in ("text", "soft", "link", "warn")
        for back in ("back", "card")
    }
    for shade in re.findall(r"background: rgb\((\d+) (\d+) (\d+) / calc\(var\(--strength\) \* 55%\)\)", CSS):
        for strength in (0.25, 0.5, 0.75, 1.0):
            share = 0.55 * strength
            mixed = tuple(
                share * float(part) + (1 - share) * back for part, back in zip(shade, colors["back"], strict=True)
            )
            ratios["text", f"{shade} at {strength}"] = contrast(colors["text"], mixed)
    assert len(ratios) == 16
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}


def test_colours_are_the_schemes_own() -> None:
    """No text or ground of the page has a colour that one of the schemes would not know of."""
    rest = re.sub(r":root \{[^}]*\}", "", CSS)
    fixed = re.findall(r"(?<![\w-])(?:color|background|border[\w-]*|outline): [^;]*#[0-9a-f]+", rest)
    assert fixed == ["background: #ffffff"], "of pictures, which are drawn on white"
    assert ":focus-visible" in CSS
    assert re.search(r"prefers-reduced-motion: no-preference\) \{ html \{ scroll-behavior: smooth", CSS)
    assert CSS.count("scroll-behavior") == 1
