"""Damaged texts: they are tokenised anew, so that a typo breaks a word into the pieces that it really would.

A word is a run of characters between white space, in any alphabet; of a language that is written without spaces a
whole clause is one. Each severity damages a share of the words, rounded, and at least one: those of a lower severity
and more. A text that has nothing to damage (one word cannot be dropped) is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from trainables.data.text import Texts
from trainables.perturbations.contract import Perturbation

__all__ = ["TEXT", "of_each"]

_SHARES: Final = (0.1, 0.2, 0.4)
_CASED: Final = (0.25, 0.5, 1.0)


def typos(text: str, severity: int, rng: np.random.Generator) -> str:
    """One slip in 10, 20, 40 % of the words of two characters or more: a character dropped or doubled, or two
    neighbours exchanged (arXiv 1711.02173, 1905.11268)."""
    pieces = _pieces(text)
    words = [at for at in range(0, len(pieces), 2) if len(pieces[at]) > 1]
    draws = rng.random((len(words), 2))
    for index in _chosen(len(words), _SHARES[severity - 1], rng):
        pieces[words[index]] = _mistyped(pieces[words[index]], *draws[index])
    return "".join(pieces)


def casing(text: str, severity: int, rng: np.random.Generator) -> str:
    """Small letters become capitals, and capitals small, in 25, 50, 100 % of the words that have any."""
    pieces = _pieces(text)
    words = [at for at in range(0, len(pieces), 2) if pieces[at].swapcase() != pieces[at]]
    for index in _chosen(len(words), _CASED[severity - 1], rng):
        pieces[words[index]] = pieces[words[index]].swapcase()
    return "".join(pieces)


def word_drop(text: str, severity: int, rng: np.random.Generator) -> str:
    """10, 20, 40 % of the words are left out, and never all."""
    pieces = _pieces(text)
    words = [at for at in range(0, len(pieces), 2) if pieces[at]]
    for index in _chosen(len(words), _SHARES[severity - 1], rng)[: len(words) - 1]:
        pieces[words[index] : words[index] + 2] = ["", ""]
    return "".join(pieces)


def word_swap(text: str, severity: int, rng: np.random.Generator) -> str:
    """10, 20, 40 % of the words change places with a neighbour."""
    pieces = _pieces(text)
    words = [at for at in range(0, len(pieces), 2) if pieces[at]]
    for index in _chosen(len(words) // 2, _SHARES[severity - 1], rng):
        one, other = words[2 * index], words[2 * index + 1]
        pieces[one], pieces[other] = pieces[other], pieces[one]
    return "".join(pieces)


def joined_words(text: str, severity: int, rng: np.random.Generator) -> str:
    """The white space is lost in 10, 20, 40 % of the places between words."""
    pieces = _pieces(text)
    gaps = [at for at in range(1, len(pieces), 2) if pieces[at - 1] and pieces[at + 1]]
    for index in _chosen(len(gaps), _SHARES[severity - 1], rng):
        pieces[gaps[index]] = ""
    return "".join(pieces)


TEXT: Final[dict[str, Perturbation[str]]] = {
    "typos": typos,
    "casing": casing,
    "word_drop": word_drop,
    "word_swap": word_swap,
    "joined_words": joined_words,
}


def of_each(perturbation: Perturbation[str]) -> Perturbation[Texts]:
    """Damages each text of a pair, by draws of its own."""

    def both(texts: Texts, severity: int, rng: np.random.Generator) -> Texts:
        return tuple(
            perturbation(text, severity, child) for text, child in zip(texts, rng.spawn(len(texts)), strict=True)
        )

    return both


def _pieces(text: str) -> list[str]:
    """Words at even places and the white space between them at odd ones; the first or last word may be empty."""
    return re.split(r"(\s+)", text)


def _chosen(num: int, share: float, rng: np.random.Generator) -> list[int]:
    """A share of `num`, at least one of them: the first of one order, so that more of them hold the fewer."""
    order: list[int] = rng.permutation(num).tolist()
    return order[: max(1, round(share * num))]


def _mistyped(word: str, which: float, where: float) -> str:
    """
    Args:
        which: of the slips, and `where` in the word: in [0, 1).
    """
    slips: Sequence[Callable[[str, int], str]] = (_dropped, _doubled, _exchanged)
    return slips[int(which * len(slips))](word, int(where * (len(word) - 1)))


def _dropped(word: str, at: int) -> str:
    return word[:at] + word[at + 1 :]


def _doubled(word: str, at: int) -> str:
    return word[: at + 1] + word[at:]


def _exchanged(word: str, at: int) -> str:
    if word[at] == word[at + 1]:  # it would not show
        return _dropped(word, at)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
