"""Splits of tables: a column, files apart, a folder of files; each split given once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from table_files import opened, png, refused, written


class TestSplits:
    text = "text,label,split\na,0,train\nb,1,Train\nc,0,dev\nd,1,test\n"

    def test_a_column_says_which(self, tmp_path: Path) -> None:
        source = opened(written(tmp_path / "a.csv", self.text), split_column="split")
        assert source.given_split is not None
        assert source.given_split.tolist() == [0, 0, 1, 2]
        assert source.notes == ()

    def test_a_column_called_split_is_believed_and_mentioned(self, tmp_path: Path) -> None:
        source = opened(written(tmp_path / "a.csv", self.text))
        assert source.given_split is not None
        assert source.notes == ("column 'split' says which split each row belongs to",)

    def test_other_words_are_listed(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", self.text.replace("dev", "eval"))
        message = refused(path, split_column="split")
        assert "must say train, val or test of every row; 1 rows differ:\n" in message
        assert f"{path}:4: 'eval'" in message

    def test_files_apart(self, tmp_path: Path) -> None:
        paths = {
            part: written(tmp_path / f"{part}_x.csv", f"label,text\n0,{part}a\n1,{part}b\n") for part in ("a", "b", "c")
        }
        source = opened(paths["a"], val_data=str(paths["b"]), test_data=str(paths["c"]))
        assert source.given_split is not None
        assert source.given_split.tolist() == [0, 0, 1, 1, 2, 2]
        assert [source.load(i) for i in (1, 2, 5)] == ["ab", "ba", "cb"]

    def test_a_folder_of_files(self, tmp_path: Path) -> None:
        written(tmp_path / "train-00000-of-00002.csv", "text,label\na,0\nb,1\n")
        written(tmp_path / "train-00001-of-00002.csv", "text,label\nc,0\n")
        written(tmp_path / "validation.csv", "text,label\nd,0\ne,1\n")
        written(tmp_path / "notes.csv", "what\never\n")
        source = opened(tmp_path)
        assert source.given_split is not None
        assert source.given_split.tolist() == [0, 0, 0, 1, 1]

    def test_a_table_beside_a_folder_of_images(self, tmp_path: Path) -> None:
        (tmp_path / "images").mkdir()
        for shade in (0, 200):
            (tmp_path / "images" / f"{shade}.png").write_bytes(png(shade))
        written(tmp_path / "metadata.csv", "file_name,label\nimages/0.png,dark\nimages/200.png,light\n")
        source = opened(tmp_path)
        assert source.modality == "image"
        assert np.asarray(source.load(1)).max() == 200

    def test_a_test_set_without_labels_is_left_aside(self, tmp_path: Path) -> None:
        path = written(tmp_path / "train.csv", "text,label\na,0\nb,1\n")
        test = written(tmp_path / "other.csv", "text\nc\n")
        source = opened(path, test_data=str(test))
        assert len(source.names) == 2
        assert source.notes == (f"{test} has no labels: its 1 rows are left aside",)

    def test_columns_that_a_held_out_file_lacks(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.csv", "text,label\na,0\nb,1\n")
        other = written(tmp_path / "b.csv", "texts,label\nc,0\n")
        message = refused(path, val_data=str(other))
        assert f"{other} has no column 'text'; did you mean 'texts'?, which the training samples have" in message

    def test_twice_the_same_split(self, tmp_path: Path) -> None:
        written(tmp_path / "train.csv", "text,label\na,0\nb,1\n")
        test = written(tmp_path / "test.csv", "text,label\na,0\nb,1\n")
        assert "has that split already; drop one" in refused(tmp_path, test_data=str(test))
        path = written(tmp_path / "a.csv", self.text)
        assert "are splits already; drop one" in refused(path, split_column="split", test_data=str(path))

    def test_no_training_samples(self, tmp_path: Path) -> None:
        written(tmp_path / "test.csv", "text,label\na,0\nb,1\n")
        assert "has no train split" in refused(tmp_path)
