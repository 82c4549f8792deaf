"""Tables as people write them: columns found or named, rows by their line, every mistake listed at once."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from table_files import opened, png, refused, written

from trainables.data.sources.delimited import read_delimited


class TestText:
    def test_a_csv_of_texts_and_labels(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", 'text,label\nfine,pos\n"bad, really",neg\n"two\nlines",pos\nNA,neg\n')
        source = opened(path)
        assert source.modality == "text"
        assert source.class_names == ("neg", "pos")
        assert source.targets.tolist() == [1, 0, 1, 0]
        assert [source.load(i) for i in range(4)] == ["fine", "bad, really", "two\nlines", "NA"]
        assert source.names == tuple(f"{path}:{line}" for line in (2, 3, 4, 6))
        assert (source.input_columns, source.label_columns) == (("text",), ("label",))
        assert source.given_split is None

    @pytest.mark.parametrize(("name", "separator"), [("a.tsv", "\t"), ("a.csv", ";"), ("a.csv", ","), ("a.csv", "\t")])
    def test_separators(self, tmp_path: Path, name: str, separator: str) -> None:
        rows = [("id", "review", "stars"), ("1", "007", "5"), ("2", "x", "1")]
        path = written(tmp_path / name, "".join(f"{separator.join(row)}\r\n" for row in rows))
        source = opened(path, label_columns=("stars",))
        assert source.load(0) == "007"
        assert source.class_names == ("1", "5")

    def test_a_byte_order_mark_is_no_part_of_the_first_name(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", "\ufefftext,label\na,b\nc,d\n")
        assert opened(path).input_columns == ("text",)

    def test_a_pair(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", "premise,hypothesis,label\na,b,0\nc,d,1\n")
        assert opened(path).load(1) == ("c", "d")
        path = written(tmp_path / "b.csv", "x,y,label\na,b,0\nc,,1\n")
        source = opened(path, input_columns=("y", "x"))
        assert source.load(0) == ("b", "a")
        with pytest.raises(ValueError, match="its text is empty"):
            source.load(1)

    @pytest.mark.parametrize("suffix", ["jsonl", "json", "ndjson"])
    def test_json(self, tmp_path: Path, suffix: str) -> None:
        rows = [{"text": "a\u2028b", "label": 10}, {"label": 9, "text": "c"}, {"text": None, "label": 9}]
        lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        source = opened(written(tmp_path / f"a.{suffix}", lines))
        assert source.load(0) == "a\u2028b"
        assert source.class_names == ("9", "10")
        assert [name.rpartition(":")[2] for name in source.names] == ["1", "3", "5"]
        with pytest.raises(ValueError, match="its text is empty"):
            source.load(2)
        as_list = opened(written(tmp_path / "list.json", json.dumps(rows)))
        assert as_list.targets.tolist() == source.targets.tolist() == [1, 0, 0]
        assert as_list.names[2].endswith("list.json, row 3")

    def test_lines_that_are_no_objects_are_all_listed(self, tmp_path: Path) -> None:
        message = refused(written(tmp_path / "a.jsonl", '{"text": "a", "label": 1}\n{"text": \n[1]\n'))
        assert "2 lines are not JSON objects" in message
        assert "1 lines are not JSON objects" in refused(written(tmp_path / "b.jsonl", '{"a": ' * 200_000))
        assert "is not JSON: maximum recursion depth" in refused(written(tmp_path / "b.json", "[" * 200_000))
        assert "line 2: " in message
        assert "line 3: expected an object" in message

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(
            st.tuples(st.text(st.sampled_from('ab",\n;é'), max_size=6), st.text(st.sampled_from("x\n"), max_size=3)),
            min_size=1,
            max_size=8,
        ),
        st.lists(st.booleans(), min_size=8, max_size=8),
    )
    def test_every_row_is_named_by_the_line_it_begins_on(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], blank: list[bool]
    ) -> None:
        file = io.StringIO()
        file.write("one,two\n")
        lines = []
        for row, gap in zip(rows, blank, strict=False):
            file.write("\n" * gap)
            lines.append(file.getvalue().count("\n") + 1)
            csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(row)
        table = read_delimited(written(tmp_path_factory.getbasetemp() / "lines.csv", file.getvalue()))
        assert table.lines is not None
        assert table.lines.tolist() == lines
        assert list(zip(table.values("one"), table.values("two"), strict=True)) == rows


class TestColumns:
    def test_names_nobody_knows_are_listed(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", "id,utterance,intent,lang\n1,hi,greet,en\n2,bye,part,en\n")
        message = refused(path)
        assert "no column is known to be the input" in message
        assert "'id', 'utterance', 'intent', 'lang'" in message
        message = refused(path, input_columns=("utterance",))
        assert "no column is known to be the label" in message

    def test_a_misspelt_one_is_guessed_at(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", "text,label\na,b\nc,d\n")
        message = refused(path, input_columns=("txt",), label_columns=("lable",))
        assert "has no column 'txt'; did you mean 'text'?, no column 'lable'; did you mean 'label'?" in message

    def test_the_only_ones_left_are_taken(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", "id,utterance,label\n1,hi,a\n2,bye,b\n")
        assert opened(path).input_columns == ("utterance",)
        path = written(tmp_path / "b.csv", "utterance,intent\nhi,a\nbye,b\n")
        source = opened(path)
        assert (source.input_columns, source.label_columns) == (("utterance",), ("intent",))

    def test_an_image_or_a_text_is_for_a_person_to_decide(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", "image,text,label\na.png,hi,0\nb.png,ho,1\n")
        assert "the input may be 'image' or 'text'; set input_columns" in refused(path)
        assert opened(path, modality="text").input_columns == ("text",)
        assert opened(path, modality="image").input_columns == ("image",)

    def test_one_column_is_not_both(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", "text,label\na,b\nc,d\n")
        assert "'text' is both input and label" in refused(path, label_columns=("text",), input_columns=("text",))

    def test_twice_the_same_name(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", "text,label,text\na,b,c\n")
        assert "column names must differ; 'text' occurs more than once" in refused(path)

    def test_groups_are_numbered_and_rows_without_one_stand_alone(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", "text,label,who\na,0,p1\nb,1,p2\nc,0,\nd,1,p1\ne,0,\n")
        assert opened(path, group_column="who").groups.tolist() == [0, 1, 2, 0, 3]


class TestFiles:
    def test_paths_are_relative_to_the_table(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(png(9))
        (tmp_path / "b.png").write_bytes(b"no image")
        path = written(tmp_path / "a.csv", "path,label\na.png,x\nb.png,y\nc.png,y\n")
        source = opened(path)
        assert source.modality == "image"
        assert source.load(0).size == (4, 3)
        for row, name in ((1, "b.png"), (2, "c.png")):
            with pytest.raises(ValueError, match=name):
                source.load(row)

    def test_another_image_under_the_same_name_is_other_data(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(png(9))
        path = written(tmp_path / "a.csv", "path,label\na.png,x\na.png,y\n")
        before = opened(path).key
        assert opened(path).key == before
        Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
        assert opened(path).key != before

    def test_names_of_no_file_are_listed(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", "image,label\nimg1,x\nimg2,y\n")
        message = refused(path)
        assert "column 'image' must hold paths of images or sounds, or their bytes" in message
        assert "'img1'" in message

    def test_one_that_is_no_file_among_files_is_a_bad_sample(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(png(9))
        path = written(tmp_path / "a.csv", "picture,label\na.png,x\nunknown,y\n,y\na.png,x\n")
        source = opened(path)
        assert source.modality == "image"
        with pytest.raises(ValueError, match=r"No such file .*unknown"):
            source.load(1)
        with pytest.raises(ValueError, match="its path is empty"):
            source.load(2)

    @pytest.mark.parametrize("as_struct", [True, False])
    def test_bytes_in_parquet_by_row_group(self, tmp_path: Path, as_struct: bool) -> None:
        contents = [png(10 * i) for i in range(10)]
        column = [{"bytes": c, "path": None} for c in contents] if as_struct else contents
        table = pa.table({"image": column, "label": [i % 2 for i in range(10)]})
        pq.write_table(table, tmp_path / "a.parquet", row_group_size=3)
        source = opened(tmp_path / "a.parquet")
        assert source.modality == "image"
        assert [int(np.asarray(source.load(i)).max()) for i in (9, 0, 3, 2)] == [90, 0, 30, 20]

    def test_names_of_classes_that_parquet_carries(self, tmp_path: Path) -> None:
        features = {"label": {"names": ["no", "yes", "never"], "_type": "ClassLabel"}}
        schema = pa.schema(
            [("text", pa.string()), ("label", pa.int64())],
            metadata={"huggingface": json.dumps({"info": {"features": features}})},
        )
        table = pa.table({"text": ["a", "b", "c"], "label": [1, 0, 1]}, schema=schema)
        pq.write_table(table, tmp_path / "a.parquet")
        source = opened(tmp_path / "a.parquet")
        assert source.class_names == ("no", "yes")
        assert source.targets.tolist() == [1, 0, 1]
        assert source.notes == ("1 of 3 classes have no sample and are left out: never",)

    def test_not_parquet(self, tmp_path: Path) -> None:
        assert "is not a Parquet file" in refused(written(tmp_path / "a.parquet", "text,label\n"))


class TestDamage:
    def test_rows_of_another_width_are_all_listed(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", 'text,label\n"a\nb",0\nc, d,1\ne,0\nf\n')
        message = refused(path)
        assert "2 rows have more or fewer cells than the header; cells are separated by commas" in message
        assert "line 4: 3 cells, expected 2" in message
        assert "line 6: 1 cells, expected 2" in message

    def test_latin_1(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", "text,label\na,0\ncafé,1\n", "latin-1")
        assert f"{path}:3: not UTF-8 (byte 0xe9); if it was saved as Latin-1" in refused(path)

    def test_utf_16(self, tmp_path: Path) -> None:
        assert "is UTF-16; save it as UTF-8" in refused(written(tmp_path / "a.csv", "text,label\na,0\n", "utf-16"))

    @pytest.mark.parametrize(("text", "message"), [("", "is empty"), ("text,label\n", "has no rows")])
    def test_nothing(self, tmp_path: Path, text: str, message: str) -> None:
        assert message in refused(written(tmp_path / "a.csv", text))

    def test_no_such_file(self, tmp_path: Path) -> None:
        assert "no such file" in refused(tmp_path / "a.csv")
        path = written(tmp_path / "b.csv", "text,label\na,0\nb,1\n")
        assert "val_data 'nowhere' must be a table" in refused(path, val_data="nowhere")
