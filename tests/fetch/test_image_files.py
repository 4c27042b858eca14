"""Images that people have, as datasets: read, cropped and divided right, or refused with what to put where."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dmd.datasets.registry import check_dataset, load_dataset
from dmd.fetch import celeba
from dmd.fetch.celeba import find_celeba, read_partition
from dmd.fetch.dataset import find_images, place_dataset, read_faces
from dmd.fetch.image_files import find_splits, read_images
from dmd.fetch.pointers import START

NAMES = [f"{number:06d}.jpg" for number in range(1, 13)]
CODES = [0] * 5 + [1] * 3 + [2] * 4


@pytest.fixture
def small_celeba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve pictures of CelebA's size, each of one colour, with their partition."""
    monkeypatch.setattr(celeba, "COUNTS", {"train": 5, "valid": 3, "test": 4})
    folder = tmp_path / "celeba"
    (folder / celeba.IMAGES).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        Image.new("RGB", (178, 218), (20 * number, 100, 200)).save(folder / celeba.IMAGES / name, quality=100)
    lines = [f"{name} {code}\n" for name, code in zip(NAMES, CODES, strict=True)]
    (folder / "list_eval_partition.txt").write_text("".join(lines))
    return folder


def as_zip(folder: Path, prefix: str) -> None:
    with zipfile.ZipFile(folder / f"{celeba.IMAGES}.zip", "w") as archive:
        for name in NAMES:
            archive.write(folder / celeba.IMAGES / name, prefix + name)
            (folder / celeba.IMAGES / name).unlink()
    (folder / celeba.IMAGES).rmdir()


@pytest.mark.parametrize("form", ["folder", "zip", "zip with a folder", "folder in a folder", "csv"])
def test_celeba_is_read_in_every_form_that_people_have(small_celeba: Path, tmp_path: Path, form: str) -> None:
    if form.startswith("zip"):
        as_zip(small_celeba, f"{celeba.IMAGES}/" if "folder" in form else "")
    elif form == "folder in a folder":
        (small_celeba / celeba.IMAGES).rename(tmp_path / "inner")
        (small_celeba / celeba.IMAGES).mkdir()
        (tmp_path / "inner").rename(small_celeba / celeba.IMAGES / celeba.IMAGES)
    elif form == "csv":
        text = (small_celeba / "list_eval_partition.txt").read_text().replace(" ", ",")
        (small_celeba / "list_eval_partition.txt").unlink()
        (small_celeba / "list_eval_partition.csv").write_text(f"image_id,partition\n{text}")
    images = find_images("celeba", None, tmp_path)
    place_dataset("celeba", images, (3, 32, 32), tmp_path, tmp_path / "out")
    train, labels = load_dataset("celeba", tmp_path / "out", "train")
    test, _ = load_dataset("celeba", tmp_path / "out", "test")
    assert labels is None
    assert (train.shape, test.shape) == ((5, 3, 32, 32), (4, 3, 32, 32))
    assert train.dtype == torch.uint8
    reds = [20 * number for number, code in enumerate(CODES) if code != 1]
    found = torch.cat([train, test])[:, 0].flatten(1)
    assert (found.float() - torch.tensor(reds)[:, None]).abs().max() <= 3


def test_a_part_of_celeba_is_refused(small_celeba: Path) -> None:
    (small_celeba / celeba.IMAGES / NAMES[0]).unlink()
    with pytest.raises(ValueError, match=r"not whole.*lacks 1 of these: 000001.jpg.*Put into .*img_align_celeba"):
        find_celeba(small_celeba)


def test_a_cut_partition_is_refused(small_celeba: Path) -> None:
    path = small_celeba / "list_eval_partition.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match=r"of 4 test images list_eval_partition.txt lists 3"):
        find_celeba(small_celeba)
    path.write_text("000001.jpg 3\n")
    with pytest.raises(ValueError, match=r"entry 0 is \['000001.jpg', '3'\]"):
        read_partition(path)
    path.write_text("../000001.jpg 0\n")
    with pytest.raises(ValueError, match="not a file name"):
        read_partition(path)


def test_what_is_missing_of_celeba_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no list_eval_partition.txt .*Put into .*celeba the aligned faces"):
        find_images("celeba", None, tmp_path)
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "list_eval_partition.txt").write_text("000001.jpg 0\n")
    with pytest.raises(ValueError, match=r"neither img_align_celeba/ nor a whole img_align_celeba.zip in .*faces"):
        find_images("celeba", str(tmp_path / "faces"), tmp_path)


def test_the_whole_set_has_the_published_counts() -> None:
    assert sum(celeba.COUNTS.values()) == 202_599


def test_the_centre_is_kept_and_shrinking_averages(tmp_path: Path) -> None:
    """178 by 218: the crop is rows 20 … 197. Stripes of one pixel become grey; without averaging they would not."""
    picture = np.zeros((218, 178), np.uint8)
    picture[:20], picture[-20:] = 255, 255
    Image.fromarray(picture).save(tmp_path / "frame.png")
    stripes = np.zeros((128, 128), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    assert read_images([tmp_path / "frame.png"], (3, 32, 32)).max() == 0
    grey = read_images([tmp_path / "stripes.png"], (1, 32, 32)).float()
    assert (grey[..., 1:-1] - 127.5).abs().max() < 20
    assert torch.equal(read_images([tmp_path / "stripes.png"], (1, 128, 128))[0, 0], torch.from_numpy(stripes))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for number in range(100):
        place = folder / ("more" if number % 2 else "") / f"{number:03d}.png"
        Image.new("L", (10, 10), number).save(place)
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_any_folder_of_images_is_a_dataset_with_every_fifth_held_out(pictures: Path, tmp_path: Path) -> None:
    images = find_images("image_folder", str(pictures), tmp_path)
    place_dataset("image_folder", images, (1, 8, 8), tmp_path, tmp_path / "out")
    order = [*range(0, 100, 2), *range(1, 100, 2)]  # 000.png, 002.png …, then more/001.png …
    for split, expected in (("test", order[4::5]), ("train", [n for i, n in enumerate(order) if i % 5 != 4])):
        pixels, _ = load_dataset("image_folder", tmp_path / "out", split)
        assert pixels[:, 0, 4, 4].tolist() == expected


def test_folders_of_splits_are_taken_as_they_are(pictures: Path) -> None:
    (pictures / "more").rename(pictures / "test")
    (pictures / "train").mkdir()
    for path in sorted(pictures.glob("*.png")):
        path.rename(pictures / "train" / path.name)
    splits = find_splits(pictures)
    assert {path.parent.name for path in splits["train"]} == {"train"}
    assert len(splits["train"]) == len(splits["test"]) == 50


def test_too_few_images_no_folder_and_broken_images_are_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset.folder .*nowhere: no such folder"):
        find_splits(tmp_path / "nowhere")
    (pictures / "000.png").write_bytes(b"<!doctype html>")
    with pytest.raises(ValueError, match=r"000.png: cannot be read as an image.*replace or remove"):
        read_images([pictures / "000.png"], (1, 8, 8))
    for path in list(pictures.glob("*.png"))[:5]:
        path.unlink()
    with pytest.raises(ValueError, match=r"19 images .* for the test split, but it needs at least 20"):
        find_splits(pictures)


def test_greys_of_16_bits_keep_their_range_and_numbers_of_no_range_are_refused(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert Image.open(tmp_path / "deep.png").mode == "I;16"
    pixels = read_images([tmp_path / "deep.png"], (3, 8, 8))
    expected = torch.from_numpy(np.round(values / 65535 * 255).astype(np.uint8))
    assert torch.equal(pixels[0], expected.expand(3, 8, 8))
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "real.png", format="TIFF")
    with pytest.raises(ValueError, match=r"real.png: .* mode F, of no known range; save it with 8 bits"):
        read_images([tmp_path / "real.png"], (1, 8, 8))


def test_files_that_are_passed_over_are_told(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    (pictures / "scan.tif").write_bytes(b"")
    find_splits(pictures)
    assert f"{pictures}: 2 files are passed over, of the endings ['.tif', '.txt']" in caplog.text


def test_faces_are_enlarged_and_grey_in_every_channel(tmp_path: Path) -> None:
    faces = np.zeros((200, 25, 25))
    faces[:100] = np.linspace(0, 1, 100)[:, None, None]
    np.save(tmp_path / "lfw_subset.npy", faces)
    pixels = read_faces(tmp_path / "lfw_subset.npy", (3, 32, 32))
    assert pixels.shape == (100, 3, 32, 32)
    expected = torch.linspace(0, 255, 100).round().to(torch.uint8)
    assert torch.equal(pixels, expected[:, None, None, None].expand_as(pixels))
    np.save(tmp_path / "lfw_subset.npy", faces[:50])
    with pytest.raises(ValueError, match="not 100 faces"):
        read_faces(tmp_path / "lfw_subset.npy", (3, 32, 32))


def test_shapes_and_classes_that_cannot_be_are_refused(tmp_path: Path) -> None:
    check_dataset("celeba", (3, 64, 64), None)
    with pytest.raises(ValueError, match=r"image_shape \[2, 32, 32\]: pictures have 1 channel .* or 3"):
        check_dataset("image_folder", (2, 32, 32), None)
    with pytest.raises(ValueError, match="num_classes 10: celeba has none"):
        check_dataset("celeba", (3, 32, 32), 10)
    with pytest.raises(ValueError, match=r"train.safetensors is not there; "):
        load_dataset("celeba", tmp_path, "train")


def test_a_pointer_of_git_lfs_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(START + b"v1")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
    for path in (tmp_path / "a.png", zipfile.Path(tmp_path / "a.zip", "a.png")):
        with pytest.raises(ValueError, match=r"a.png: cannot be read as an image: .*`git lfs pull`"):
            read_images([path], (1, 8, 8))


def test_a_folder_of_pictures_may_be_a_link(pictures: Path, tmp_path: Path) -> None:
    order = [path.name for path in find_splits(pictures)["train"]]
    (pictures / "more").rename(tmp_path / "elsewhere")
    (pictures / "more").symlink_to(tmp_path / "elsewhere")
    assert [path.name for path in find_splits(pictures)["train"]] == order


def test_a_picture_of_celeba_that_is_a_link_to_nowhere_is_missing(small_celeba: Path) -> None:
    path = small_celeba / celeba.IMAGES / NAMES[0]
    path.unlink()
    path.symlink_to("nowhere.jpg")
    with pytest.raises(ValueError, match=r"not whole.*lacks 1 of these: 000001.jpg"):
        find_celeba(small_celeba)
    (small_celeba / f"{celeba.IMAGES}.zip").write_bytes(START + b"v1")
    with pytest.raises(ValueError, match=r"img_align_celeba.zip: only a Git-LFS pointer"):
        find_celeba(small_celeba)
