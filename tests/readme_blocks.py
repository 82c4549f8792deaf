"""What the README shows: its fenced blocks, and every command in them and between them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "README",
    "SUB_COMMANDS",
    "Block",
    "Command",
    "blocks",
    "fragments",
    "of_line",
    "scores",
    "shell_commands",
    "spans",
]

README = Path(__file__).resolve().parents[1] / "README.md"

SUB_COMMANDS = (
    "sweep", "resume", "report", "rank", "compare", "ls", "show", "ui", "export", "init", "backbones", "validate",
    "schema", "doctor",
)  # fmt: skip

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_ASSIGNMENT = re.compile(r"[A-Z][A-Za-z_0-9]*=\S*")
_FRAGMENT = re.compile(r"[a-z_]+: [{\[].*[}\]]", re.DOTALL)
_PROGRAMS = ("python", "pip", "ray", "ssh", "mlflow", "curl", "docker", "git")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    text: str
    line: int

    @property
    def needs_model(self) -> bool:
        """Whether it loads what ``export`` has written."""
        return "load_model(" in self.text

    def __str__(self) -> str:
        return f"{self.language or 'text'}-at-line-{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of one program, without the variables before it and the comment behind it."""

    text: str
    words: tuple[str, ...]

    @property
    def key(self) -> str:
        """What it is told by: ``orchestrator sweep``, ``ray up``, ``pip install``, ``trainables``."""
        words = list(self.words)
        if words[:2] == ["python", "-m"]:
            words = words[2:]
            if words[0] == "orchestrator":
                return " ".join(words[:2])
            return words[0].split(".")[0]
        return " ".join(words[: 2 if words[0] in ("ray", "pip", "mlflow") else 1])

    @property
    def arguments(self) -> list[str]:
        """Behind the key."""
        return list(self.words[2 if self.words[:2] == ("python", "-m") else 0 :])[len(self.key.split()) :]

    def __str__(self) -> str:
        return self.text


def blocks(language: str | None = None) -> list[Block]:
    text = README.read_text(encoding="utf-8")
    found = [Block(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)]
    return [block for block in found if language is None or block.language == language]


def shell_commands() -> list[Command]:
    """Of every ``bash`` block, and the lines behind a prompt of any other, in order, each once."""
    lines: list[str] = []
    for block in blocks():
        if block.language in ("bash", "sh", "shell", "console"):
            lines += block.text.replace("\\\n", " ").splitlines()
        else:
            lines += [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
    return list(dict.fromkeys(command for line in lines for command in of_line(line)))


def spans() -> list[Command]:
    """Commands in running text: whole ones, and those that leave ``python -m orchestrator`` out."""
    prose = _FENCE.sub("", README.read_text(encoding="utf-8"))
    found: list[Command] = []
    for text in (" ".join(match[1].split()) for match in _SPAN.finditer(prose)):
        first, _, rest = text.partition(" ")
        if first in SUB_COMMANDS and rest and re.match(r"-|[A-Z]|\S+\.(yaml|csv)", rest):
            text = f"python -m orchestrator {text}"
        bare = _without_variables(text)
        if bare.partition(" ")[0] in _PROGRAMS and " " in bare:
            found += of_line(text)
    return list(dict.fromkeys(found))


def fragments() -> list[str]:
    """Keys of a sweep file with their values, as ``confirmation: {seeds: 5}`` in running text."""
    prose = _FENCE.sub("", README.read_text(encoding="utf-8"))
    texts = [" ".join(match[1].split()) for match in _SPAN.finditer(prose)]
    return list(dict.fromkeys(text for text in texts if _FRAGMENT.fullmatch(text) and "..." not in text))


def scores() -> str:
    """The README's table of scores from elsewhere."""
    [block] = [block for block in blocks() if block.text.startswith("task,backbone,")]
    return block.text


def of_line(line: str) -> list[Command]:
    line = line.strip()
    if not line or line.startswith("#"):
        return []
    if line.startswith("("):  # a subshell is one command
        return [Command(text=(text := line[: line.rindex(")") + 1]), words=(text,))]
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    parts: list[list[str]] = [[]]
    for word in lexer:
        if word == "&&":
            parts.append([])
        elif word != "&":
            parts[-1].append(word)
    return [_command(part) for part in parts if part]


def _command(words: list[str]) -> Command:
    while _ASSIGNMENT.fullmatch(words[0]) and len(words) > 1:
        words = words[1:]
    return Command(text=shlex.join(words), words=tuple(words))


def _without_variables(text: str) -> str:
    while _ASSIGNMENT.fullmatch(text.partition(" ")[0]):
        text = text.partition(" ")[2]
    return text
