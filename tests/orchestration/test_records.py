"""The append-only table: what is written is read back, wherever a kill cuts the file."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.records import EPOCHS, MEASURES, TESTS, TRIALS, AppendOnlyTable, TableDamaged

START = datetime(2026, 1, 1, tzinfo=UTC)
FAST = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _values(field: pa.Field) -> st.SearchStrategy[Any]:
    kind = field.type
    if pa.types.is_string(kind):
        # Surrogates are no text, and a worker's traceback may hold anything else.
        values: st.SearchStrategy[Any] = st.text(st.characters(exclude_categories=("Cs",)), min_size=0, max_size=40)
    elif pa.types.is_integer(kind):
        values = st.integers(-(2**31), 2**31 - 1) if kind.bit_width == 32 else st.integers(-(2**63), 2**63 - 1)
    elif pa.types.is_floating(kind):
        values = st.floats(allow_nan=False)
    elif pa.types.is_timestamp(kind):
        values = st.integers(0, 10**15).map(lambda us: START + timedelta(microseconds=us))
    elif pa.types.is_list(kind):
        values = st.lists(st.floats(width=32, allow_nan=False), max_size=9)
    else:
        values = st.binary(max_size=200)
    return st.none() | values if field.nullable else values


def rows(schema: pa.Schema) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({field.name: _values(field) for field in schema})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "table.arrows"


@pytest.mark.parametrize("schema", [TRIALS, EPOCHS, TESTS], ids=["trials", "epochs", "tests"])
@FAST
@given(data=st.data())
def test_any_rows_come_back_in_order(schema: pa.Schema, data: st.DataObject, place: Path) -> None:
    place.unlink(missing_ok=True)
    written = data.draw(st.lists(rows(schema), max_size=4))
    for row in written:
        AppendOnlyTable(place, schema).append(row)  # each by a writer of its own, as after a restart
    read = AppendOnlyTable(place, schema).read()
    assert read.schema == schema
    assert read.to_pylist() == written


@FAST
@given(data=st.data())
def test_rows_written_at_a_time_come_back_as_those_written_one_by_one(data: st.DataObject, place: Path) -> None:
    place.unlink(missing_ok=True)
    pieces = data.draw(st.lists(st.lists(rows(MEASURES), max_size=4), max_size=4))
    table, follower = AppendOnlyTable(place, MEASURES), AppendOnlyTable(place, MEASURES)
    for number, piece in enumerate(pieces):
        table.append_all(piece)
        assert follower.read().to_pylist() == [row for one in pieces[: number + 1] for row in one]


def test_rows_written_at_a_time_are_whole_or_not_there(place: Path) -> None:
    row = {"study": "a:b", "number": 1, "name": "ece", "split": "test", "condition": "", "value": 0.5}
    table = AppendOnlyTable(place, MEASURES)
    table.append_all([])
    assert not place.exists()
    table.append(row)
    end = place.stat().st_size
    with pytest.raises(ValueError, match="missing values \\['condition'\\]"):
        table.append_all([row, row | {"condition": None}])
    assert place.stat().st_size == end, "not even the first one"
    table.append_all([row] * 3)
    whole = place.read_bytes()
    for size in range(end, len(whole), 7):
        place.write_bytes(whole[:size])
        assert len(AppendOnlyTable(place, MEASURES).read()) == 1, "all three or none"


def test_cut_at_any_byte_leaves_the_whole_rows_and_the_next_append_works(place: Path) -> None:
    written = [
        {"study": "a:b", "number": n, "name": "x" * n, "split": "test", "condition": "", "value": n / 7 or None}
        for n in range(3)
    ]
    table, ends = AppendOnlyTable(place, MEASURES), []
    for row in written:
        table.append(row)
        ends.append(place.stat().st_size)
    whole = place.read_bytes()
    cut = place.with_name("cut.arrows")
    for size in range(len(whole) + 1):
        cut.write_bytes(whole[:size])
        expected = written[: sum(end <= size for end in ends)]
        assert AppendOnlyTable(cut, MEASURES).read().to_pylist() == expected, size
        if size % 5 == 0 or size in ends or size + 1 in ends or size - 1 in ends:  # each append is an fsync
            AppendOnlyTable(cut, MEASURES).append(written[2])
            assert AppendOnlyTable(cut, MEASURES).read().to_pylist() == [*expected, written[2]], size


@FAST
@given(tail=st.binary(min_size=1, max_size=600))
def test_no_tail_that_a_crash_may_leave_is_taken_for_a_row(tail: bytes, place: Path) -> None:
    """After a power cut a file may end in zeros, or in whatever the disk held."""
    row = {"study": "a:b", "number": 1, "epoch": 1, "step": 3}
    full = {**dict.fromkeys(EPOCHS.names), **row}
    for end in (tail, bytes(len(tail))):
        place.unlink(missing_ok=True)
        AppendOnlyTable(place, EPOCHS).append(row)
        with place.open("ab") as file:
            file.write(end)
        assert AppendOnlyTable(place, EPOCHS).read().to_pylist() == [full]
        AppendOnlyTable(place, EPOCHS).append(row)
        assert AppendOnlyTable(place, EPOCHS).read().to_pylist() == [full, full]


def test_a_writer_goes_on_after_an_append_that_failed_halfway(place: Path) -> None:
    row = {"study": "a:b", "number": 1, "epoch": 1, "step": 3}
    table = AppendOnlyTable(place, EPOCHS)
    table.append(row)
    with place.open("ab") as file:
        file.write(b"\xff\xff\xff\xff\x88\x01")  # how a batch begins
    table.append(row)
    assert len(table.read()) == 2


@pytest.mark.parametrize(
    "content",
    [pytest.param(b"not a table\n" * 200, id="text"), pytest.param(b"x", id="one byte")],
)
def test_a_file_of_something_else_is_refused_and_left_alone(content: bytes, place: Path) -> None:
    place.write_bytes(content)
    table = AppendOnlyTable(place, TESTS)
    for use in (table.read, lambda: table.append({})):
        with pytest.raises((TableDamaged, ValueError)):
            use()
    with pytest.raises(TableDamaged, match=r"table\.arrows is not a table"):
        table.read()
    assert place.read_bytes() == content


def test_another_schema_is_refused_and_names_the_file(place: Path) -> None:
    AppendOnlyTable(place, EPOCHS).append({"study": "a:b", "number": 1, "epoch": 1, "step": 3})
    before = place.read_bytes()
    with pytest.raises(TableDamaged, match=r"table\.arrows was written by another version"):
        AppendOnlyTable(place, TRIALS).read()
    row = dict.fromkeys(EPOCHS.names) | {"study": "a:b", "number": 1, "epoch": 1, "step": 3}
    fewer = pa.schema([field for field in EPOCHS if field.name != "eval_s"])
    with pytest.raises(TableDamaged):
        AppendOnlyTable(place, fewer).append({name: row[name] for name in fewer.names})
    assert place.read_bytes() == before


def test_a_table_from_before_a_column_is_read_and_not_added_to(place: Path) -> None:
    later = ("train_frac", "val_mae")  # one that may not be null, one that may
    row = {f.name: _some(f) for f in TRIALS}
    earlier = pa.schema([field for field in TRIALS if field.name not in later])
    for number in (1, 2):
        AppendOnlyTable(place, earlier).append({name: row[name] for name in earlier.names} | {"number": number})
    before = place.read_bytes()
    found = AppendOnlyTable(place, TRIALS).read()
    assert found.schema == TRIALS
    assert found.to_pylist() == [row | {"number": n, "train_frac": 1.0, "val_mae": None} for n in (1, 2)]
    with pytest.raises(TableDamaged, match=r"table\.arrows was written by an earlier version"):
        AppendOnlyTable(place, TRIALS).append(row)
    assert place.read_bytes() == before


def _some(field: pa.Field) -> Any:
    if pa.types.is_timestamp(field.type):
        return datetime(2026, 1, 1, tzinfo=UTC)
    return "x" if field.type == pa.string() else pa.scalar(1).cast(field.type).as_py()


def test_a_row_that_does_not_fit_is_refused_before_anything_is_written(place: Path) -> None:
    table = AppendOnlyTable(place, EPOCHS)
    with pytest.raises(ValueError, match=r"unknown columns \['test_score'\], missing values \['epoch'\]"):
        table.append({"study": "a:b", "number": 1, "step": 3, "test_score": 0.9})
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        table.append({"study": "a:b", "number": "one", "epoch": 1, "step": 3})
    assert not place.exists() or place.stat().st_size == 0


def test_an_append_costs_the_same_however_long_the_table(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No append after a writer's first reads the file: a long sweep must not slow down."""
    table = AppendOnlyTable(place, EPOCHS)
    row = {"study": "a:b", "number": 1, "epoch": 1, "step": 3}
    table.append(row)
    monkeypatch.setattr("os.fsync", lambda _: None)  # the disk's own cost, which is noise here
    monkeypatch.setattr(table, "_follow", lambda: pytest.fail("an append read the table"))

    def seconds(num: int) -> float:
        begin = time.perf_counter()
        for _ in range(num):
            table.append(row)
        return time.perf_counter() - begin

    early = min(seconds(50) for _ in range(3))
    seconds(1500)
    late = min(seconds(50) for _ in range(3))
    assert late < 4 * early
    assert len(AppendOnlyTable(place, EPOCHS).read()) == 1801


def test_a_reader_sees_whole_rows_while_a_writer_appends(place: Path) -> None:
    writer, reader = AppendOnlyTable(place, EPOCHS), AppendOnlyTable(place, EPOCHS)
    held = reader.read()
    for number in range(20):
        writer.append({"study": "a:b", "number": number, "epoch": 1, "step": 3})
        seen = reader.read()
        assert seen["number"].to_pylist() == list(range(number + 1))
        if number == 9:
            held = seen
    assert held["number"].to_pylist() == list(range(10)), "a table once read stays what it was"


def test_a_test_score_has_no_place_in_what_searches_and_chooses() -> None:
    for schema in (TRIALS, EPOCHS):
        assert not [name for name in schema.names if "test" in name]
