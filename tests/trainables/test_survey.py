"""A survey reads everything once and says what is there; the task it suggests loads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.config import TaskSpec
from trainables.data import load_task
from trainables.data import survey as module
from trainables.data.source import open_source
from trainables.data.survey import Spread, suggest_task, survey, try_split
from trainables.errors import DataError
from trainables.preprocessing import ImagePreprocessing


def test_images(image_folder: Path, cache: Path, preprocessing: ImagePreprocessing) -> None:
    train, test = image_folder / "train", image_folder / "test"
    Image.new("RGB", (40, 10)).save(train / "red" / "wide.png")
    (test / "blue" / "0.png").write_bytes((train / "green" / "0.png").read_bytes())
    (train / "blue" / "bad.png").write_bytes(b"bad")
    told: list[tuple[int, int]] = []
    found = survey(str(image_folder), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (44, 44)
    assert (found.modality, found.kind, found.num_samples, found.num_read) == ("image", "classification", 44, 44)
    assert found.class_counts == {"blue": 15, "green": 14, "red": 15}
    assert found.split_counts == {"train": 32, "test": 12}
    assert found.class_counts_by_split["test"] == {"blue": 4, "green": 4, "red": 4}
    assert found.sizes == {
        "width": Spread(least=24, median=24, most=40),
        "height": Spread(least=10, median=20, most=20),
    }
    assert [name for name, _ in found.unreadable] == ["train/blue/bad.png"]
    assert (found.num_duplicates, found.duplicates_across, found.num_contradicting) == (1, {"train/test": 1}, 2)
    assert found.imbalance == pytest.approx(15 / 14)
    task = load_task(suggest_task(found), preprocessing)
    assert len(task.test) == 12
    assert any("exact duplicates of samples of train" in note for note in task.notes)


def test_a_table_of_texts(tmp_path: Path) -> None:
    rows = [f"{'word ' * (i % 5 + 1)}{i},{('pos', 'neg', 'neg')[i % 3]}" for i in range(30)]
    path = tmp_path / "My reviews (2).csv"
    path.write_text("\n".join(["review,mood", *rows, rows[0], ",pos"]))
    found = survey(str(path))
    assert (found.modality, found.kind) == ("text", "classification")
    assert (found.input_columns, found.label_columns) == (("review",), ("mood",))
    assert found.sizes["words"] == Spread(least=2, median=4, most=6)
    assert found.unreadable == ((f"{path}:33", "its text is empty"),)
    assert found.num_duplicates == 1
    suggested = suggest_task(found)
    assert suggested.name == "My-reviews-2"
    assert suggested.on_bad_sample == "skip"
    assert suggested.input_columns == ("review",)
    assert open_source(suggested).class_names == ("neg", "pos")


@pytest.mark.parametrize(
    ("header", "row", "kind"),
    [
        ("text,score", "t{i},{x:.3f}", "regression"),
        ("text,label", "t{i},a|b", "multilabel"),
        ("text,a,b", "t{i},0,1", "multilabel"),
    ],
)
def test_the_kind_is_guessed(tmp_path: Path, header: str, row: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.csv"
    path.write_text("\n".join([header, *(row.format(i=i, x=rng.normal()) for i in range(100))]))
    found = survey(str(path))
    assert found.kind == kind
    assert (found.imbalance is None) == (kind == "regression")
    assert ("score" in found.sizes) == (kind == "regression")
    assert open_source(suggest_task(found)).kind == kind


def test_sounds(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    for number, name in enumerate(("low", "high")):
        (tmp_path / name).mkdir()
        for index in range(3):
            rate = 8000 * (1 + number)
            soundfile.write(tmp_path / name / f"{index}.wav", np.full(800 * (index + 1), 0.1 * number), rate)
    found = survey(str(tmp_path))
    assert found.rates == {8000: 3, 16000: 3}
    assert found.sizes == {"duration_s": Spread(least=0.05, median=0.125, most=pytest.approx(0.3))}


def test_of_many_samples_a_part_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_READ", 100)
    found = survey("digits")
    assert (found.num_samples, found.num_read) == (1797, 100)
    assert sum(found.class_counts.values()) == 1797
    assert found.notes[0].startswith("100 of 1,797 samples were read")


def test_large_datasets_are_not_spent_on_held_out_splits(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text,label", *(f"t{i},{i % 2}" for i in range(30_000))]))
    suggested = suggest_task(survey(str(path)))
    assert (suggested.num_val, suggested.num_test) == (2000, 5000)
    assert suggest_task(survey("digits")) == TaskSpec(name="digits", modality="image")


def table(path: Path, header: str, rows: list[str]) -> str:
    path.write_text("\n".join([header, *rows]))
    return str(path)


def sentence(i: int) -> str:
    return " ".join(f"word{(i * k) % 17}" for k in range(1, 9)) + f" {i}"


def test_columns_that_no_name_tells_are_told_by_their_values(tmp_path: Path) -> None:
    rows = [f"{i},u{i // 4},2024-03-{1 + i % 28:02d},{'ab'[i % 2]},{sentence(i)},{i % 7}" for i in range(120)]
    found = survey(table(tmp_path / "a.csv", "id,userId,posted,verdict,remark,votes", rows))
    assert (found.input_columns, found.label_columns) == (("remark",), ("verdict",))
    assert (found.spec.group_column, found.num_groups) == ("userId", 30)
    assert found.dates == ("posted",)
    assert found.other_labels == ("votes",)
    flipped = [f"{'ab'[i % 2]},{sentence(i)}" for i in range(40)]
    found = survey(table(tmp_path / "b.csv", "verdict,remark", flipped))
    assert (found.input_columns, found.label_columns) == (("remark",), ("verdict",)), "whichever comes first"
    rows = [f"{sentence(i)[:12]},{sentence(i)},{i % 3}" for i in range(60)]
    found = survey(table(tmp_path / "c.csv", "title,review_text,stars", rows))
    assert (found.input_columns, found.label_columns) == (("title", "review_text"), ("stars",))


def test_groups_that_no_split_could_keep_whole_are_left_aside(tmp_path: Path) -> None:
    # Each class is one speaker's: a test split without a speaker has none of the class.
    rows = [f"{sentence(i)},{i % 3},s{i % 3}" for i in range(60)]
    found = survey(table(tmp_path / "a.csv", "text,label,speaker", rows))
    assert (found.spec.group_column, found.num_groups) == (None, None)
    assert any("'speaker' looks like groups, but" in note for note in found.notes)
    found = survey(str(tmp_path / "a.csv"), group_column="speaker")
    assert found.spec.group_column == "speaker", "what somebody asks for is kept"
    with pytest.raises(DataError, match=r"small enough|no sample of"):
        try_split(found, suggest_task(found))


@pytest.mark.parametrize(
    ("label", "kind", "noted"),
    [
        (lambda i: i % 5, "classification", False),
        (lambda i: i % 60, "classification", False),  # numbered from 0 without gaps
        (lambda i: 18 + i % 60, "regression", True),
        (lambda i: 1000 + 17 * i, "regression", False),
    ],
)
def test_whole_numbers_are_classes_or_amounts(
    tmp_path: Path, label: Callable[[int], int], kind: str, noted: bool
) -> None:
    rows = [f"{sentence(i)},{label(i)}" for i in range(300)]
    found = survey(table(tmp_path / "a.csv", "text,target", rows))
    assert found.kind == kind
    assert any("--kind classification" in note for note in found.notes) == noted


def test_splits_are_found_beside_the_data_and_in_any_column(tmp_path: Path) -> None:
    rows = [f"{sentence(i)},{i % 2}" for i in range(40)]
    path = table(tmp_path / "mails_train.csv", "text,label", rows)
    held_out = table(tmp_path / "mails_test.csv", "text,label", [f"new {row}" for row in rows[:10]])
    found = survey(path)
    assert (found.spec.name, found.spec.test_data) == ("mails", held_out)
    assert found.split_counts == {"train": 40, "test": 10}
    assert survey(path, test_data=held_out).notes == (), "what was asked for is no finding"
    table(tmp_path / "mails_test.csv", "words,mark", rows[:10])
    found = survey(path)
    assert (found.spec.test_data, found.split_counts) == (None, {})
    assert any("cannot be used" in note for note in found.notes)
    rows = [f"{sentence(i)},{i % 2},{('train', 'train', 'validation', 'test')[i // 2 % 4]}" for i in range(40)]
    found = survey(table(tmp_path / "b.csv", "text,label,subset", rows))
    assert (found.spec.split_column, sum(found.split_counts.values())) == ("subset", 40)


def test_the_folder_that_holds_the_samples_is_found(tmp_path: Path) -> None:
    def picture(path: Path, shade: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), (shade, 0, 0)).save(path)

    for shade, name in enumerate(("train/a", "train/b", "test/a", "test/b")):
        for index in range(4):
            picture(tmp_path / "pets" / "unpacked" / "data" / name / f"{index}.png", 40 * shade + index)
    (tmp_path / "pets" / "__MACOSX").mkdir()
    inner = tmp_path / "pets" / "unpacked" / "data"
    for place in (tmp_path / "pets", inner, inner / "train"):
        found = survey(str(place))
        assert (found.spec.data, found.split_counts) == (str(inner), {"train": 8, "test": 8})
    assert survey(str(tmp_path / "pets")).spec.name == "pets"
    table(tmp_path / "listed.csv", "file,label", [f"{i}.png,{'ab'[i % 2]}" for i in range(4)])
    with pytest.raises(DataError, match=r"column 'file' must hold paths relative to .*, such as pets/"):
        survey(str(tmp_path / "listed.csv"))


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("pets.zip", "unzip .*pets.zip -d .*pets"),
        ("pets.tar.gz", "tar xf"),
        ("sheet.xlsx", "save the sheet as CSV"),
        ("frame.pkl", "save it as Parquet"),
        ("one.png", "is a single sample"),
        ("nothing/", "neither folders nor images"),
        ("flat/1.png", "1 samples and no folders"),
        ("one/cat/1.png", "one class folder, 'cat'"),
    ],
)
def test_what_has_to_be_done_first_is_said(tmp_path: Path, name: str, fix: str) -> None:
    path = tmp_path / name
    (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
    if not name.endswith("/"):
        path.write_bytes(b"x")
    with pytest.raises(DataError, match=fix):
        survey(str(tmp_path / name.split("/")[0]))
