"""Image folders as people really have them: odd files are read right or refused by name."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.config import TaskSpec
from trainables.data import load_task
from trainables.data.source import Source, open_source
from trainables.errors import DataError
from trainables.preprocessing import ImagePreprocessing

SPEC_SIDE = 16


def opened(root: Path) -> Source:
    return open_source(TaskSpec(name="t", data=str(root)))


def pixels(path: Path) -> np.ndarray:
    """What is read of the one image at `path`, as (height, width, 3)."""
    source = opened(path.parents[1])
    return np.asarray(source.load(source.names.index(str(path.relative_to(path.parents[1])))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A class folder for the image of a test, in a dataset with one other class."""
    Image.new("RGB", (9, 9)).save(_made(tmp_path / "other") / "0.png")
    return _made(tmp_path / "odd")


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def gradient(dtype: type, top: int) -> np.ndarray:
    return np.tile(np.linspace(0, top, 12).astype(dtype), (10, 1))


class TestOddImages:
    def test_gray(self, folder: Path) -> None:
        Image.fromarray(gradient(np.uint8, 255)).save(folder / "x.png")
        assert (pixels(folder / "x.png") == gradient(np.uint8, 255)[..., None]).all()

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_sixteen_bits_keep_their_gradient(self, folder: Path, suffix: str) -> None:
        path = folder / f"x.{suffix}"
        Image.fromarray(gradient(np.uint16, 65535)).save(path)
        assert abs(pixels(path).astype(int) - gradient(np.uint8, 255)[..., None]).max() <= 1

    def test_colour_with_transparency(self, folder: Path) -> None:
        Image.new("RGBA", (8, 8), (10, 200, 30, 255)).save(folder / "x.png")
        assert (pixels(folder / "x.png") == (10, 200, 30)).all()

    def test_palette(self, folder: Path) -> None:
        Image.new("RGB", (8, 8), (255, 0, 0)).quantize(4).save(folder / "x.png")
        assert (pixels(folder / "x.png") == (255, 0, 0)).all()

    def test_cmyk(self, folder: Path) -> None:
        Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(folder / "x.jpg")
        assert abs(pixels(folder / "x.jpg").astype(int) - (255, 0, 0)).max() < 12

    def test_black_and_white(self, folder: Path) -> None:
        Image.new("1", (8, 8), 1).save(folder / "x.png")
        assert (pixels(folder / "x.png") == 255).all()

    def test_the_first_frame_of_an_animation(self, folder: Path) -> None:
        frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
        frames[0].save(folder / "x.gif", save_all=True, append_images=frames[1:])
        assert (pixels(folder / "x.gif") == (255, 0, 0)).all()

    @pytest.mark.parametrize("mode", ["F", "I"])
    def test_pixels_of_unknown_range_are_refused(self, folder: Path, mode: str) -> None:
        Image.fromarray(gradient(np.float32 if mode == "F" else np.int32, 10**6)).save(folder / "x.tif")
        with pytest.raises(ValueError, match="unknown range; save it with 8 or 16 bits"):
            pixels(folder / "x.tif")


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (17, 16)], ids=str)
def test_any_shape_becomes_the_square_asked_for(
    size: tuple[int, int], folder: Path, cache: Path, preprocessing: ImagePreprocessing
) -> None:
    for shade, name in enumerate(("odd", "other")):
        for index in range(3):
            Image.new("RGB", size, (200, 100 + 10 * shade, 50 + index)).save(folder.parent / name / f"a{index}.png")
    (folder.parent / "other" / "0.png").unlink()
    spec = TaskSpec(name="t", data=str(folder.parent), num_train=2, num_val=2, num_test=2)
    task = load_task(spec, preprocessing)
    images, _ = task.train.batch(torch.arange(2))
    assert isinstance(images, torch.Tensor)
    assert images.shape == (2, 3, 16, 16)
    assert (images == images[:, :, :1, :1]).all()


def test_all_unreadable_files_are_listed_in_one_error(
    image_folder: Path, cache: Path, preprocessing: ImagePreprocessing
) -> None:
    train = image_folder / "train"
    whole = (train / "red" / "0.png").read_bytes()
    (train / "red" / "1.png").write_bytes(whole[: len(whole) // 2])
    (train / "green" / "2.png").write_bytes(b"")
    (train / "blue" / "3.jpg").write_text("not an image")
    with pytest.raises(DataError) as caught:
        load_task(TaskSpec(name="t", data=str(image_folder)), preprocessing)
    message = str(caught.value)
    assert message.startswith("3 of 43 images cannot be read")
    assert all(name in message for name in ("red/1.png", "green/2.png", "blue/3.jpg"))


def test_a_long_list_of_unreadable_files_is_cut(
    image_folder: Path, cache: Path, preprocessing: ImagePreprocessing
) -> None:
    for path in image_folder.rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"42 of 42 images cannot be read[\s\S]*and 22 more$"):
        load_task(TaskSpec(name="t", data=str(image_folder)), preprocessing)


def test_a_decompression_bomb_is_refused(
    image_folder: Path, cache: Path, preprocessing: ImagePreprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20 * 24)
    for name, side in (("warned", 26), ("raised", 60)):
        Image.new("L", (side, side)).save(image_folder / "train" / "red" / f"{name}.png")
    with pytest.raises(DataError) as caught:
        load_task(TaskSpec(name="t", data=str(image_folder)), preprocessing)
    assert "2 of 44 images" in str(caught.value)
    assert "warned.png" in str(caught.value)
    assert "raised.png" in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp", "ppm"])
def test_damaged_bytes_raise_nothing_but_value_error(folder: Path, suffix: str) -> None:
    path = folder / f"x.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole, rng = path.read_bytes(), random.Random(0)
    load = opened(folder.parent).load
    for round_ in range(150):
        damaged = bytearray(whole[: rng.randrange(1, len(whole))] if round_ % 2 else whole)
        for _ in range(3):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            assert load(0).mode == "RGB"
        except ValueError:
            continue


@pytest.mark.parametrize("suffix", ["jpg", "tif", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_the_camera_was_held(folder: Path, suffix: str, orientation: int) -> None:
    upright = Image.new("RGB", (16, 8), (250, 10, 10))
    upright.paste((10, 10, 250), (0, 0, 8, 8))
    upright.paste((10, 250, 10), (0, 0, 4, 4))
    stored = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    image = upright if stored is None else upright.transpose(Image.Transpose(stored))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(folder / f"x.{suffix}", exif=exif, **({"quality": 100, "subsampling": 0} if suffix == "jpg" else {}))
    found = pixels(folder / f"x.{suffix}").astype(int)
    assert found.shape == (8, 16, 3)
    assert abs(found - np.asarray(upright).astype(int)).mean() < 5


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_tags_do_not_cost_the_image(folder: Path) -> None:
    Image.new("RGB", (8, 8), (200, 0, 0)).save(folder / "x.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert abs(pixels(folder / "x.jpg").astype(int) - (200, 0, 0)).max() < 12


class TestFolders:
    def test_a_folder_per_class(self, folder: Path) -> None:
        Image.new("RGB", (4, 4)).save(folder / "x.JPG")
        (folder / "notes.txt").write_text("not data")
        source = opened(folder.parent)
        assert source.class_names == ("odd", "other")
        assert source.names == ("odd/x.JPG", "other/0.png")
        assert source.targets.tolist() == [0, 1]
        assert source.given_split is None

    def test_given_splits(self, image_folder: Path) -> None:
        source = opened(image_folder)
        assert source.given_split is not None
        parts = [name.split("/")[0] for name in source.names]
        assert [("train", "val", "test")[part] for part in source.given_split] == parts
        assert [source.class_names[label] for label in source.targets] == [n.split("/")[1] for n in source.names]

    def test_hidden_files_and_folders_are_not_data(self, image_folder: Path) -> None:
        before = opened(image_folder).names
        red = image_folder / "train" / "red"
        (red / "._0.png").write_bytes(b"resource fork")
        Image.new("RGB", (4, 4)).save(_made(red / ".ipynb_checkpoints") / "0-checkpoint.png")
        _made(image_folder / "train" / ".cache")
        assert opened(image_folder).names == before

    @pytest.mark.parametrize("name", ["valid", "validation", "dev", "Val"])
    def test_names_of_the_validation_folder(self, image_folder: Path, name: str) -> None:
        (image_folder / "test").rename(image_folder / name)
        source = opened(image_folder)
        assert source.given_split is not None
        assert set(source.given_split) == {0, 1}

    def test_two_folders_of_one_split_are_refused(self, image_folder: Path) -> None:
        for name in ("val", "dev"):
            _made(image_folder / name)
        with pytest.raises(DataError, match="has both dev and val; leave one val folder"):
            opened(image_folder)

    def test_held_out_samples_from_elsewhere(self, image_folder: Path, tmp_path: Path) -> None:
        (image_folder / "test").rename(tmp_path / "elsewhere")
        spec = TaskSpec(name="t", data=str(image_folder / "train"), test_data=str(tmp_path / "elsewhere"))
        source = open_source(spec)
        assert source.given_split is not None
        assert np.bincount(source.given_split).tolist() == [30, 0, 12]
        assert source.names[0] == "blue/0.png"
        assert source.names[-1] == str(tmp_path / "elsewhere" / "red" / "3.png")

    def test_a_split_given_twice_is_refused(self, image_folder: Path) -> None:
        spec = TaskSpec(name="t", data=str(image_folder), test_data=str(image_folder / "test"))
        with pytest.raises(DataError, match=r"test_data .* is given, and .* is a test split already; drop one"):
            open_source(spec)
        spec = TaskSpec(name="t", data=str(image_folder / "train"), val_data=str(image_folder))
        with pytest.raises(DataError, match=r"val_data .* must be a folder of class folders; it has splits of its own"):
            open_source(spec)
        spec = TaskSpec(name="t", data=str(image_folder / "train"), val_data=str(image_folder / "nowhere"))
        with pytest.raises(DataError, match=r"val_data must be a folder of class folders, got .*nowhere"):
            open_source(spec)

    def test_a_note_beside_the_images_is_no_sample_but_is_mentioned(self, folder: Path) -> None:
        Image.new("RGB", (4, 4)).save(folder / "x.png")
        (folder / "notes.txt").write_text("not data")
        assert opened(folder.parent).notes == (f"left aside: 1 text file beside the images of {folder.parent}",)

    def test_as_many_texts_as_images_are_for_a_person_to_decide(self, image_folder: Path) -> None:
        for path in list(image_folder.rglob("*.png")):
            path.with_suffix(".txt").write_text("a caption")
        with pytest.raises(DataError, match="mixes 42 images and 42 text files; a task has one kind of sample: set"):
            opened(image_folder)
        spec = TaskSpec(name="t", data=str(image_folder), modality="text")
        assert open_source(spec).load(0) == "a caption"

    def test_a_folder_takes_one_class_per_sample(self, image_folder: Path) -> None:
        with pytest.raises(DataError, match="kind 'regression' takes a table"):
            open_source(TaskSpec(name="t", data=str(image_folder), kind="regression"))

    def test_class_folders_must_agree(self, image_folder: Path) -> None:
        _made(image_folder / "test" / "violet")
        with pytest.raises(DataError, match="same class folders; they differ in violet"):
            opened(image_folder)

    def test_a_class_without_images_is_refused(self, image_folder: Path) -> None:
        for path in (image_folder / "test" / "blue").iterdir():
            path.unlink()
        with pytest.raises(DataError, match=r"test/blue has no image; expected files of \.bmp"):
            opened(image_folder)

    def test_one_class_is_refused(self, tmp_path: Path) -> None:
        Image.new("RGB", (4, 4)).save(_made(tmp_path / "only") / "0.png")
        with pytest.raises(DataError, match=r"has 1 class folder\(s\)"):
            opened(tmp_path)

    def test_a_test_folder_alone_is_refused(self, image_folder: Path) -> None:
        (image_folder / "train").rename(image_folder / "training")
        with pytest.raises(DataError, match="has test but no train folder"):
            opened(image_folder)

    def test_no_such_folder(self) -> None:
        with pytest.raises(DataError, match="'digitz' is neither 'digits' nor a folder; looked in /"):
            open_source(TaskSpec(name="t", data="digitz"))


def test_digits_are_those_of_scikit_learn() -> None:
    source = open_source(TaskSpec(name="t", data="digits"))
    assert len(source.names) == 1797
    assert source.class_names == tuple("0123456789")
    assert source.load(0).size == (8, 8)
    assert np.asarray(source.load(0)).max() > 200
