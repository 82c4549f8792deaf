"""Labels of every kind, as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from trainables.data.sources.targets import Targets, encode_targets, guess_kind
from trainables.errors import DataError


def where(row: int) -> str:
    return f"line {row + 2}"


def classes(values: Sequence[Any], names: tuple[str, ...] | None = None) -> Targets:
    return encode_targets("classification", {"label": values}, where, names)


def sets(values: Sequence[Any], names: tuple[str, ...] | None = None) -> Targets:
    return encode_targets("multilabel", {"tags": values}, where, names)


def numbers(**columns: Sequence[Any]) -> Targets:
    return encode_targets("regression", columns, where)


class TestClasses:
    @pytest.mark.parametrize(
        ("values", "names"),
        [
            (["b", "a", " b "], ("a", "b")),
            (["10", "9", "10"], ("9", "10")),
            ([10, 9, 10], ("9", "10")),
            ([2.0, 1.0, 2.0], ("1", "2")),
            (["1.5", "0.5", "1.5"], ("0.5", "1.5")),
            ([True, False, True], ("False", "True")),
        ],
    )
    def test_are_sorted_and_numbers_by_their_size(self, values: list[Any], names: tuple[str, ...]) -> None:
        targets = classes(values)
        assert targets.class_names == names
        assert targets.values.tolist() == [1, 0, 1]
        assert targets.values.dtype == np.int64

    def test_missing_ones_are_all_listed(self) -> None:
        with pytest.raises(DataError) as caught:
            classes(["a", "", "b", None, float("nan"), *[" "] * 30])
        message = str(caught.value)
        assert message.startswith("33 rows have no label in column 'label'; correct or remove them:")
        assert "line 3\n" in message
        assert message.endswith("and 13 more")

    def test_names_keep_their_order_and_unused_ones_go(self) -> None:
        targets = classes([2, 0, 2], ("z", "y", "x"))
        assert targets.class_names == ("z", "x")
        assert targets.values.tolist() == [1, 0, 1]
        with pytest.raises(DataError, match="1 rows have no label"):
            classes([0, -1], ("z", "y"))
        with pytest.raises(DataError, match="1 rows have a number in column 'label' that none of its 2 classes has"):
            classes([0, 2], ("z", "y"))

    def test_a_quantity_is_no_class(self) -> None:
        values = [str(v) for v in np.random.default_rng(0).normal(size=200)]
        with pytest.raises(DataError, match=r"200 different numbers in 200 rows, .* set kind to regression"):
            classes(values)

    def test_a_text_is_no_class(self) -> None:
        with pytest.raises(DataError, match=r"60 different values in 60 rows, .* set label_columns to another column"):
            classes([f"a text of its own {i}" for i in range(60)])

    def test_lists_are_several_classes(self) -> None:
        with pytest.raises(DataError, match="set kind to multilabel"):
            classes([["a"], ["b", "c"]])

    def test_two_columns_are_none(self) -> None:
        with pytest.raises(DataError, match="has one label column, got 'a', 'b'"):
            encode_targets("classification", {"a": [0], "b": [1]}, where)

    def test_names_that_look_alike_are_mentioned(self) -> None:
        assert "upper and lower case only are told apart: pos" in classes(["Pos", "pos", "neg"]).notes[0]


class TestLabelSets:
    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ([["b", "a"], ["a"], []], None),
            (["b|a", "a", ""], "|"),
            (["b; a", "a", " "], ";"),
            (["b,a", "a", ""], ","),
            (["['b', 'a']", '["a"]', "[]"], None),
        ],
    )
    def test_forms(self, values: list[Any], said: str | None) -> None:
        targets = sets(values)
        assert targets.class_names == ("a", "b")
        assert targets.values.tolist() == [[1, 1], [1, 0], [0, 0]]
        assert targets.values.dtype == np.float32
        assert targets.notes == (
            () if said is None else (f"labels in column 'tags' are taken to be separated by {said!r}",)
        )

    def test_the_bar_comes_before_the_comma(self) -> None:
        assert sets(["red, dark|big", "big"]).class_names == ("big", "red, dark")

    def test_numbers_of_names(self) -> None:
        targets = sets([[2, 0], [2]], ("z", "y", "x"))
        assert targets.class_names == ("z", "x")
        assert targets.values.tolist() == [[1, 1], [0, 1]]
        with pytest.raises(DataError, match="that none of its 2 labels has"):
            sets([[2]], ("z", "y"))

    def test_a_column_for_each(self) -> None:
        columns = {"toxic": ["1", "0", "true"], "rude": [0, 1.0, False]}
        targets = encode_targets("multilabel", columns, where)
        assert targets.class_names == ("toxic", "rude")
        assert targets.values.tolist() == [[1, 0], [0, 1], [1, 0]]
        with pytest.raises(DataError, match=r"1 rows have neither 0 nor 1 in column 'rude'[\s\S]*line 3"):
            encode_targets("multilabel", {"toxic": [1, 1], "rude": [0, 2]}, where)

    def test_unknown_is_not_none(self) -> None:
        with pytest.raises(DataError, match=r"1 rows have no labels in column 'tags'[\s\S]*line 3"):
            sets([["a"], None])

    def test_one_label_a_row_is_a_classification(self) -> None:
        with pytest.raises(DataError, match="has one label per row, such as 'a'"):
            sets(["a", "b"])


class TestNumbers:
    def test_one_or_several(self) -> None:
        targets = numbers(price=["1.5", " 2 "], age=[3, 4])
        assert targets.class_names == ("price", "age")
        assert targets.values.tolist() == [[1.5, 3], [2, 4]]
        assert targets.values.dtype == np.float32
        assert numbers(price=[1, 2, 3]).values.shape == (3, 1)

    @pytest.mark.parametrize("value", ["", None, "n/a", "nan", float("inf"), "1,5"])
    def test_what_is_none_is_listed(self, value: Any) -> None:
        with pytest.raises(DataError, match=r"1 rows have no finite number in column 'price'[\s\S]*line 3"):
            numbers(price=["1", value])

    def test_out_of_range(self) -> None:
        with pytest.raises(DataError, match="beyond the range of 32-bit"):
            numbers(price=[1, 1e300])


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ([["a", "b"] * 40], "classification"),
        ([[1, 2, 3, 4, 5] * 40], "classification"),
        ([[0.5, 1.0] * 40], "classification"),
        ([list(np.linspace(0, 1, 200))], "regression"),
        ([[["a"], ["b", "c"]]], "multilabel"),
        ([["a|b", "c", "a|c"]], "multilabel"),
        ([["0", "1"], [1, 0]], "multilabel"),
        ([["0.3", "1"], [1, 0]], "regression"),
    ],
)
def test_kinds_are_guessed(columns: list[list[Any]], kind: str) -> None:
    assert guess_kind(columns) == kind
