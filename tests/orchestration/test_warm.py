"""What a worker keeps between trials."""

from __future__ import annotations

from orchestrator.workers.warm import Warm


def built(warm: Warm[str], keys: str) -> str:
    """Which of `keys`, asked for one after the other, had to be made."""
    made: list[str] = []
    for key in keys:
        warm.get(key, lambda key=key: made.append(key) or key)
    return "".join(made)


def test_studies_that_take_turns_are_all_kept_where_they_fit() -> None:
    assert built(Warm(lambda value: 1, limit=12), "abcdefghijkl" * 3) == "abcdefghijkl"


def test_the_longest_unused_goes_first() -> None:
    assert built(Warm(lambda value: 1, limit=2), "abacab") == "abcb"


def test_one_that_is_larger_than_the_limit_is_kept_until_another_is_asked_for() -> None:
    assert built(Warm(lambda value: 5, limit=2), "aaba") == "aba"
