"""CelebA, as people have it: the aligned faces as a folder or a zip file, with the file of their partition.

Its licence forbids passing it on, so nothing downloads it; it is put into `downloads/celeba/` by hand.
"""

import csv
import zipfile
from pathlib import Path

from dmd.fetch.image_files import ImageFile
from dmd.fetch.pointers import refuse_pointer

COUNTS = {"train": 162_770, "valid": 19_867, "test": 19_962}
"""Images of each split of the whole set."""

CODES = {"0": "train", "1": "valid", "2": "test"}
IMAGES = "img_align_celeba"
PARTITIONS = ("list_eval_partition.txt", "list_eval_partition.csv")


def instructions(folder: Path) -> str:
    """What must be put where."""
    return (
        f"Put into {folder.absolute()} the aligned faces, as the folder {IMAGES}/ or the file {IMAGES}.zip, and "
        f"{' or '.join(PARTITIONS)} (from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, from Kaggle, or what "
        "torchvision.datasets.CelebA left in its celeba/). Without CelebA: dataset.name image_folder or lfw-faces"
    )


def find_celeba(folder: Path) -> dict[str, list[ImageFile]]:
    """The `train` and `test` images, in the order of their names; those of a zip file are read where they are.

    Raises:
        ValueError: something is missing or the set is not whole; says what must be put where.
    """
    lists = [folder / name for name in PARTITIONS if (folder / name).is_file()]
    if not lists:
        raise ValueError(f"CelebA: no {' or '.join(PARTITIONS)} in {folder}. {instructions(folder)}")
    names = read_partition(lists[0])
    images = _images(folder)
    present = {path.name for path in images.iterdir() if path.is_file()}  # a link may lead nowhere
    for split, wanted in COUNTS.items():
        listed = names[split]
        missing = [name for name in listed if name not in present]
        if len(listed) != wanted or missing:
            raise ValueError(
                f"CelebA is not whole: of {wanted} {split} images {lists[0].name} lists {len(listed)}, and {images} "
                f"lacks {len(missing)} of these{': ' + missing[0] if missing else ''}. {instructions(folder)}"
            )
    return {split: [images / name for name in names[split]] for split in ("train", "test")}


def read_partition(path: Path) -> dict[str, list[str]]:
    """File names by split, sorted; lines `000001.jpg 0` (CelebA's) or `000001.jpg,0` below a header (Kaggle's).

    Raises:
        ValueError: a line is of another form; names it.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    rows = list(csv.reader(lines[1:])) if path.suffix == ".csv" else [line.split() for line in lines]
    names: dict[str, list[str]] = {split: [] for split in COUNTS}
    for number, row in enumerate(row for row in rows if row):
        if len(row) != 2 or row[1] not in CODES or Path(row[0]).name != row[0]:
            raise ValueError(f"{path}: entry {number} is {row}, not a file name and 0, 1 or 2; put the original there")
        names[CODES[row[1]]].append(row[0])
    return {split: sorted(found) for split, found in names.items()}


def _images(folder: Path) -> ImageFile:
    """The folder of images, or the inside of the zip file; either may have one of the same name in it."""
    plain, archive = folder / IMAGES, folder / f"{IMAGES}.zip"
    if archive.is_file():
        refuse_pointer(archive)
    if not plain.is_dir() and not zipfile.is_zipfile(archive):
        raise ValueError(f"CelebA: neither {IMAGES}/ nor a whole {IMAGES}.zip in {folder}. {instructions(folder)}")
    images: ImageFile = plain if plain.is_dir() else zipfile.Path(archive)
    inner = images / IMAGES
    return inner if inner.is_dir() else images
