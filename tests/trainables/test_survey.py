"""A survey reads everything once and says what is there; the task it suggests loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.config import TaskSpec
from trainables.data import load_task
from trainables.data import survey as module
from trainables.data.source import open_source
from trainables.data.survey import Spread, suggest_task, survey
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
