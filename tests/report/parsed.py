"""An HTML page as a browser's parser sees it; refuses what a browser would have to repair."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "link", "input"}


@dataclass
class Node:
    """An element with what is in it."""

    tag: str
    attributes: dict[str, str]
    children: list[Node | str] = field(default_factory=list)

    def all(self, *tags: str) -> Iterator[Node]:
        """Elements within it of these kinds, in the page's order; of all kinds for none."""
        for child in self.children:
            if isinstance(child, Node):
                if not tags or child.tag in tags:
                    yield child
                yield from child.all(*tags)

    @property
    def text(self) -> str:
        """What is in it, styles apart, with single spaces."""
        parts = (child if isinstance(child, str) else child.text for child in self.children if self.tag != "style")
        return " ".join("".join(parts).split())


@dataclass
class Page:
    """What the tests ask for."""

    source: str
    root: Node
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
        self.open: list[Node] = [page.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> has an attribute twice"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.page.elements.append((tag, node.attributes))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)
        self.page.text += "\n"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert len(self.open) > 1, f"</{tag}> closes nothing"
        assert self.open.pop().tag == tag, f"</{tag}> closes another element"
        self.page.text += "\n"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)
        if all(node.tag != "style" for node in self.open):
            self.page.text += data


def parse(file: Path) -> Page:
    """Raises AssertionError where elements are not nested as they should be."""
    page = Page(source=file.read_text(encoding="utf-8"), root=Node("", {}))
    parser = _Parser(page)
    parser.feed(page.source)
    parser.close()
    assert parser.open == [page.root]
    page.text = re.sub(r"\n\s*", "\n", page.text)
    return page
