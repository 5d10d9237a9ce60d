"""Folders as people have them: what is guessed, converted, skipped and told, in every command."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from own_data import CLASSES, write_folder
from spach_nas.config.search_yaml import load_config
from spach_nas.config.training_settings import DataSettings
from spach_nas.data import data_shape, load_test, load_train_and_validation, validate_settings
from spach_nas.data.decoding import decode, upright
from spach_nas.errors import ConfigError, DataError

SIZE = (12, 12)


def settings(root: Path, **changes: object) -> DataSettings:
    return DataSettings(name="folder", root=root, **changes)  # type: ignore[arg-type]


# --- layouts


@pytest.mark.parametrize("names", [("Train", "Test"), ("TRAINING", "Testing"), ("train", "Val")])
def test_names_of_splits_compare_without_case(tmp_path: Path, names: tuple[str, ...]) -> None:
    write_folder(tmp_path, splits=names)
    assert data_shape(settings(tmp_path)).num_classes == len(CLASSES)
    assert len(load_test(settings(tmp_path, validation=0.2), image_size=SIZE)) == 24


@pytest.mark.parametrize(
    ("splits", "classes", "told"),
    [
        (("",), ("train2017", "val2017"), "train2017/, val2017/"),
        (("",), ("train_set", "test_set"), "test_set/, train_set/"),
        (("train",), ("train", "test"), "test/, train/"),
        (("",), ("ant", "bee", "dev"), "dev/"),
    ],
)
def test_classes_that_look_like_splits_are_refused(
    tmp_path: Path, splits: tuple[str, ...], classes: tuple[str, ...], told: str
) -> None:
    write_folder(tmp_path, splits=splits, classes=classes)
    with pytest.raises(DataError, match=f"{told} would be classes and look like splits; expected"):
        validate_settings(settings(tmp_path))


def test_splits_inside_of_classes_are_refused(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        write_folder(tmp_path / name, splits=("",), classes=("train", "test"))
    with pytest.raises(DataError, match=r"ant: test/, train/ would be classes"):
        validate_settings(settings(tmp_path))


@pytest.mark.parametrize("name", ["contest", "training shoes", "evaluation", "trainer", "tester"])
def test_classes_that_only_begin_like_a_split_are_classes(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path, splits=("",), classes=("ant", name))
    assert data_shape(settings(tmp_path)).num_classes == 2


def test_what_is_found_and_not_used_is_counted(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", splits=("train", "val", "test"))
    elsewhere = write_folder(tmp_path / "more", splits=("",), classes=("a", "b"))
    (root / "train" / "ant" / "more").symlink_to(elsewhere / "a", target_is_directory=True)
    (root / "train" / "bee" / "more").symlink_to(elsewhere / "b", target_is_directory=True)
    for name in ("1.heic", "2.HEIC", "notes"):
        (root / "train" / "ant" / name).touch()
    (root / "train" / "cat" / "._1.png").touch()
    (root / "train" / "loose.png").touch()
    write_folder(root, splits=("extra",))
    splits = load_train_and_validation(settings(root, validation=0.5), image_size=SIZE)
    assert len(splits.train) + len(splits.validation) == 24
    (note,) = splits.notes
    assert note.startswith("found and not used: ")
    assert set(note.partition(": ")[2].split(", ")) == {
        "2 links to folders",
        "2 .heic files",
        "1 file without a suffix",
        "1 hidden file",
        "1 file outside of the class folders",
        "extra/",
        "val/",
    }
    clean = write_folder(tmp_path / "clean", splits=("train", "val"))
    assert load_train_and_validation(settings(clean), image_size=SIZE).notes == ()


def test_an_empty_root_is_not_the_current_folder(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    text = "{study: a, space: spach_tiny, data: {name: folder, root: %r}, search: {trials: 1}}"
    path.write_text(text % "")
    with pytest.raises(ConfigError, match=r"data\.root: is empty; expected a folder"):
        load_config(path)
    path.write_text(text % ".")
    assert load_config(path).data.root == Path()


# --- channels


def test_one_colour_image_among_grey_ones_makes_a_colour_set_in_search_and_training(
    tmp_path: Path,
) -> None:
    from spach_nas.config.recipe import load_recipe
    from spach_nas.data.reader import check_data, open_data
    from spach_nas.full_size.training_plan import data_choice

    root = write_folder(tmp_path, mode="L")
    choice = data_choice(str(root), load_recipe("short").data)
    for channels in (1, 3):
        assert data_shape(settings(root, split_seed=channels)).in_channels == channels
        assert open_data(choice).train.channels == channels
        assert check_data(choice).train.channels == channels
        Image.new("RGB", SIZE, "red").save(root / "train" / "dog" / "5.png")


# --- values


def save(image: Image.Image, suffix: str) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, suffix)
    file.seek(0)
    return file


def decoded(file: io.BytesIO) -> np.ndarray:
    return np.asarray(decode(file, channels=1)[0])


@pytest.mark.parametrize("suffix", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize("brightest", [65535, 20_000, 200])
def test_values_of_16_bits_go_by_their_format_and_not_by_the_image(
    suffix: str, brightest: int
) -> None:
    values = np.linspace(0, brightest, 144).reshape(SIZE).astype(np.uint16)
    np.testing.assert_array_equal(decoded(save(Image.fromarray(values), suffix)), values // 256)


def test_floats_from_0_to_1_are_black_to_white_and_others_are_refused() -> None:
    values = np.linspace(0, 1, 144, dtype=np.float32).reshape(SIZE)
    np.testing.assert_array_equal(
        decoded(save(Image.fromarray(values), "TIFF")), np.round(values * 255)
    )
    np.testing.assert_array_equal(
        decoded(save(Image.fromarray(values / 4), "TIFF")), np.round(values / 4 * 255)
    )
    for wrong in (values * 255, values - 0.5, np.where(values > 0.5, np.nan, values)):
        with pytest.raises(DataError, match=r"floats from .*; expected floats in \[0, 1\]"):
            decoded(save(Image.fromarray(wrong.astype(np.float32)), "TIFF"))


def test_integers_of_32_bits_are_refused() -> None:
    values = np.arange(144, dtype=np.int32).reshape(SIZE)
    with pytest.raises(DataError, match="32-bit integers, of which none means white"):
        decoded(save(Image.fromarray(values), "TIFF"))


def write_12_bits(root: Path, *, top: int = 4095) -> Path:
    write_folder(root, mode="L")
    for path in root.rglob("*.png"):
        grey = np.asarray(Image.open(path)).astype(np.uint16)
        Image.fromarray((grey.astype(np.uint32) * top // 255).astype(np.uint16)).save(path)
    return root


def test_a_set_of_12_of_16_bits_is_refused_in_search_and_training(tmp_path: Path) -> None:
    from spach_nas.config.recipe import load_recipe
    from spach_nas.data.reader import check_data
    from spach_nas.full_size.training_plan import data_choice

    root = write_12_bits(tmp_path / "12")
    message = r"24 16-bit images go up to .* leaves 1\d of 256 levels; .*multiply all by \d\d\)"
    with pytest.raises(DataError, match=message):
        load_train_and_validation(settings(root), image_size=SIZE)
    with pytest.raises(DataError, match=message):
        check_data(data_choice(str(root), load_recipe("short").data))
    whole = write_12_bits(tmp_path / "16", top=65535)
    assert len(load_train_and_validation(settings(whole), image_size=SIZE).train) == 20
    # One dark image among bright ones is a dark image.
    Image.fromarray(np.full(SIZE, 300, dtype=np.uint16)).save(whole / "train" / "ant" / "0.png")
    assert len(load_train_and_validation(settings(whole), image_size=SIZE).train) == 20


# --- decoders


def faulty_exif(*, turned: bool = True) -> io.BytesIO:
    """A JPEG whose camera model is a rational, which Pillow cannot write again."""
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    exif[0x0110] = TiffImagePlugin.IFDRational(1, 3)
    ifd = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    ifd.tagtype[0x0110] = 5
    ifd[0x0110] = TiffImagePlugin.IFDRational(1, 3)
    if turned:
        ifd[0x0112] = 6
    raw = b"Exif\x00\x00II*\x00\x08\x00\x00\x00" + ifd.tobytes(8)
    pixels = np.random.default_rng(2).integers(0, 255, (24, 16, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", exif=raw)
    file.seek(0)
    return file


def test_whole_pixels_with_faulty_words_about_them_are_read() -> None:
    file = faulty_exif()
    with pytest.raises(AttributeError):
        ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue())))
    found, _ = decode(file, channels=3)
    expected = np.rot90(np.asarray(Image.open(io.BytesIO(file.getvalue()))), -1)
    np.testing.assert_array_equal(np.asarray(found), expected)


@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright_as_pillow_would_turn_them(suffix: str, orientation: int) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (10, 14, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, suffix, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue())))
    found = upright(Image.open(io.BytesIO(file.getvalue())), channels=3)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize("kind", [AttributeError, TypeError, KeyError, RuntimeError, MemoryError])
def test_whatever_a_decoder_raises_is_the_fault_of_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    root = write_folder(tmp_path)
    bad = root / "train" / "cat" / "3.png"
    real = Image.open

    def open_(file: object, *arguments: object, **others: object) -> Image.Image:
        if str(file) == str(bad):
            raise kind("the decoder stumbled")
        return real(file, *arguments, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "open", open_)
    with pytest.raises(DataError, match="the decoder stumbled") as caught:
        load_train_and_validation(settings(root), image_size=SIZE)
    assert str(caught.value).startswith(f"{bad}: ")


# --- broken files


def test_broken_files_of_all_splits_are_named_at_once_up_to_a_bound(tmp_path: Path) -> None:
    root = write_folder(tmp_path, splits=("train", "val"))
    for path in [*(root / "train" / "ant").iterdir(), *(root / "val" / "bee").iterdir()][:10]:
        path.write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        load_train_and_validation(settings(root), image_size=SIZE)
    lines = str(caught.value).split("\n")
    assert len([line for line in lines if line.endswith(".png: no image")]) == 8
    assert any("val/bee" in line for line in lines)
    assert lines[-2] == "and 2 more"
    assert "10 broken image files; expected intact files, or data.skip_broken: true" in lines[-1]


def test_a_search_may_leave_broken_files_out_and_says_so(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    (root / "train" / "ant" / "1.png").write_bytes(b"")
    (root / "train" / "bee" / "2.png").write_bytes(b"no image")
    splits = load_train_and_validation(settings(root, skip_broken=True), image_size=SIZE)
    assert len(splits.train) + len(splits.validation) == 22
    (note,) = splits.notes
    assert note.startswith("2 broken files are left out, such as ")
    for path in (root / "train" / "ant").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="ant: has no intact image"):
        load_train_and_validation(settings(root, skip_broken=True), image_size=SIZE)


def _palette(path: Path) -> None:
    Image.open(path).quantize(8).save(path, transparency=b"\x00\x80")


def _grey(path: Path) -> None:
    Image.open(path).convert("L").save(path)


@pytest.mark.parametrize(("change", "word"), [(_palette, "palette"), (_grey, "grey")])
def test_conversions_are_told(tmp_path: Path, change: Callable[[Path], None], word: str) -> None:
    root = write_folder(tmp_path)
    change(root / "train" / "ant" / "1.png")
    splits = load_train_and_validation(settings(root), image_size=SIZE)
    assert splits.notes == (f"converted to RGB: 1 {word}",)


def test_a_class_of_one_image_is_told_by_its_name(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    for path in sorted((root / "train" / "cat").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match="class 'cat' has 1 image; expected at least 2"):
        load_train_and_validation(settings(root), image_size=SIZE)
