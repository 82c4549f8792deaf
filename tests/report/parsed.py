"""An HTML page as a browser's parser sees it; refuses what a browser would have to repair."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "link", "input"}


@dataclass
class Page:
    """What the tests ask for."""

    source: str
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: str = ""
    """What is shown, charts included, styles apart; elements are parted by line breaks."""

    def all(self, tag: str) -> list[dict[str, str]]:
        """Attributes of every such element."""
        return [attributes for name, attributes in self.elements if name == tag]


class _Parser(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page = page
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> has an attribute twice"
        self.page.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        self.page.text += "\n"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"
        self.page.text += "\n"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.page.text += data


def parse(file: Path) -> Page:
    """Raises AssertionError where elements are not nested as they should be."""
    page = Page(source=file.read_text(encoding="utf-8"))
    parser = _Parser(page)
    parser.feed(page.source)
    parser.close()
    assert parser.open == []
    page.text = re.sub(r"\n\s*", "\n", page.text)
    return page
