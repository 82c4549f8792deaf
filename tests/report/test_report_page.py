"""The page as a whole: complete, self-contained, harmless, the same each time."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from made_folder import HOSTILE, IMPORTANCES, PERTURBATIONS
from parsed import Page, parse
from PIL import Image

from orchestrator.folder import SweepFolder
from orchestrator.ranking import Ranking
from orchestrator.report import write_report
from orchestrator.report.answer import by_short_name
from orchestrator.report.document import Block, Missing, Pictures
from orchestrator.report.page import MAX_BYTES, render
from orchestrator.report.pictures import embedded
from orchestrator.report.reading import read_sweep
from orchestrator.report.studies import SweepRecords

SECTIONS = (
    "Verdict",
    "Ranking",
    "What the score is made of",
    "What can be told apart",
    "Each backbone",
    "Side by side",
    "Score against cost",
    "Efficiency",
    "What a training-free screen foretold",
    "Budget spent",
    "Failed runs",
    "Stopped runs",
    "Data",
    "Reproducing this",
    "Words",
)
CHARTS = ("tuning", "depth", "map", "epochs", "robust", "reliability", "drift", "confusion")


def headings(page: Page) -> list[str]:
    return re.findall(r"<h[1-6]>(?:<i[^>]*></i>)?([^<]*)</h", page.source)


def test_everything_is_there(page: Page, swept: tuple[SweepFolder, Ranking], records: SweepRecords) -> None:
    found = headings(page)
    assert [name for name in SECTIONS if name not in found] == []
    for sentence in swept[1].verdicts[0].sentences:
        assert by_short_name(sentence, records.studies) in page.text
    assert "Not measured" not in page.text
    charts = set(re.findall(r'href="#(s\d+-\w+)-', page.source))
    assert charts >= {f"s{place}-{name}" for place in (0, 1) for name in CHARTS}
    for words in (
        "Pareto",
        "LogME",
        "weighted tau",
        "under attack",
        "temperature scaling",
        "few labels",
        *PERTURBATIONS,
    ):
        assert words.replace("_", " ") in page.text.replace("_", " ")
    assert "python -m orchestrator sweep sweep.yaml" in page.text
    assert "0123456789abcdef, with changes that were not committed" in page.text
    assert "digits: 12 samples appear twice" in page.text


def test_charts_can_be_read_without_seeing_them(page: Page) -> None:
    charts = [attributes for attributes in page.all("div") if attributes.get("class") == "chart"]
    assert len(charts) == len(page.all("svg")) >= 20
    assert all(len(chart["aria-label"]) > 20 and chart["role"] == "img" for chart in charts)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page.source, re.DOTALL)
    assert len(captions) == len(page.all("figure"))
    assert all(len(picture["alt"]) > 5 for picture in page.all("img"))
    assert all(attributes["aria-label"] for attributes in page.all("div") if attributes.get("class") == "scroll")


def test_anchors(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"] for name, a in page.elements if name in ("a", "use")}
    assert len(targets) > 20
    assert targets <= {f"#{name}" for name in ids}
    clips = set(re.findall(r"url\(#([^)]*)\)", page.source))
    assert clips <= set(ids)


def test_nothing_is_fetched(page: Page) -> None:
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster")
    ]
    assert addresses
    assert [value[:40] for value in addresses if not value.startswith(("#", "data:image/"))] == []
    assert re.findall(r"url\((?!#)[^)]*\)|@import|https?://|//cdn", page.source) == []
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {name for name, _ in page.elements}


def test_hostile_names_are_text(page: Page) -> None:
    assert HOSTILE not in page.source
    assert page.text.count(HOSTILE) > 10
    handlers = [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert handlers == []
    assert "__pico$x$" in page.text
    assert "mathdefault" not in page.source  # nor are the dollars that matplotlib writes itself
    assert "猫" in page.text
    assert f"RuntimeError: {HOSTILE} lost s3://***@bucket" in page.text
    assert "hunter2" not in page.source


def test_no_number_that_is_none(page: Page) -> None:
    assert re.findall(r"\b(?:nan|NaN|None|inf|null|undefined)\b", page.text) == []
    drawn = re.findall(r"(?:d|x|y|width|height|viewBox)=\"[^\"]*(?:nan|inf)[^\"]*\"", page.source)
    assert drawn == []


def test_small_and_the_same_each_time(report: Path, swept: tuple[SweepFolder, Ranking]) -> None:
    first = report.read_bytes()
    assert len(first) < MAX_BYTES
    assert write_report(*swept, importances=IMPORTANCES).read_bytes() == first
    assert [file.name for file in report.parent.iterdir() if "tmp" in file.name] == []


@pytest.fixture
def records(swept: tuple[SweepFolder, Ranking]) -> SweepRecords:
    return read_sweep(*swept)


def test_charts_give_way_last_backbone_first(
    records: SweepRecords, report: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = parse(report)
    pictures = sum(len(picture["src"]) for picture in whole.all("img"))
    limit = len(whole.source.encode()) - pictures - 50_000
    monkeypatch.setattr("orchestrator.report.page.MAX_BYTES", limit)
    file = tmp_path / "small.html"
    file.write_text(render(records), encoding="utf-8")
    page = parse(file)
    assert len(page.source.encode()) <= limit
    assert not page.all("img")
    # What is left out is named, its numbers stay, and the better backbone keeps its charts.
    assert page.text.count("Charts of this backbone") == 1
    assert page.text.count("are in the folder pictures/") == 2
    assert page.text.count("random trials") > 2
    assert 'href="#s0-tuning-' in page.source
    assert 'href="#s1-tuning-' not in page.source


def test_pictures_take_turns_and_no_more_than_the_room(records: SweepRecords) -> None:
    everything = embedded(records.studies, 10**7)
    assert [len(block.items) for block in everything.values() if isinstance(block, Pictures)] == [2, 2]
    sizes = [len(one.address) for block in everything.values() if isinstance(block, Pictures) for one in block.items]
    for shown in Image.open(io.BytesIO(base64.b64decode(_first(everything).partition(",")[2]))).size:
        assert shown <= 480
    some = embedded(records.studies, 2 * max(sizes) + 3_000)
    assert [len(block.items) for block in some.values() if isinstance(block, Pictures)] == [1, 1]
    assert all("1 of 2; the others are in the folder pictures/" in block.caption for block in some.values())  # type: ignore[union-attr]
    assert all(isinstance(block, Missing) for block in embedded(records.studies, -1).values())


def _first(found: Mapping[str, Block]) -> str:
    block = next(iter(found.values()))
    assert isinstance(block, Pictures)
    return block.items[0].address


def test_a_picture_that_is_none_is_counted(records: SweepRecords, swept: tuple[SweepFolder, Ranking]) -> None:
    file = records.studies[0].evaluated.pictures[0].path
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[:50])
        block = embedded(records.studies, 10**7)[records.studies[0].anchor]
    finally:
        file.write_bytes(whole)
    assert isinstance(block, Pictures)
    assert len(block.items) == 1
    assert "1 could not be read" in block.caption


def test_loading_it_costs_nothing_until_it_is_used() -> None:
    code = (
        "import sys, orchestrator.report as report; from orchestrator.report import page; "
        "print(sorted(name for name in sys.modules if name in "
        "('ray', 'optuna', 'mlflow', 'torch', 'matplotlib', 'PIL')), report.write_report.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] write_report\n"
