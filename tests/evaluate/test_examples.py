"""Examples for the report: which samples are shown beside what, by hand on a few images."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from dmd.evaluate.examples import first_samples, per_class_table, write_examples
from dmd.evaluate.noises import Noises
from dmd.evaluate.summaries import Summary, summarise_model, summarise_pixels
from dmd.runtime.files import load_tensors

CPU = torch.device("cpu")
NOISES = Noises(seed=5, count=40, shape=(1, 4, 4), num_classes=10, device=CPU)


class Plain(nn.Module):
    """The features are the pixels; the class is the brightness, in tenths of its range."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tenth = ((images.mean(dim=(1, 2, 3)) + 1) * 5).long().clamp(0, 9)
        return images.flatten(1), nn.functional.one_hot(tenth, 10).float()


def flat(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """An image as bright as its label says, with a tenth of the noise; label 3 looks like 7."""
    shown = torch.where(labels == 3, 7, labels).float()
    return ((shown + 0.5) / 5 - 1).view(-1, 1, 1, 1) + 0.01 * z


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluation")
    pixels = (torch.arange(10) * 25 + 12).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)[torch.arange(8)]
    train = summarise_pixels(Plain(), pixels, None, 3, CPU)
    sets = NOISES.sets(2)
    drawn = {"student": [summarise_model(Plain(), flat, part, 7, "student") for part in sets]}
    write_examples(out, {"student": flat}, drawn, train, pixels, sets, batch_size=7)
    return out


def test_no_pass_draws_more_than_a_batch(tmp_path: Path) -> None:
    """What a device can draw is what `evaluate.batch_size` says, for pictures too."""
    seen: list[int] = []

    def counted(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(len(z))
        return flat(z, labels)

    pixels = torch.zeros(8, 1, 4, 4, dtype=torch.uint8)
    drawn = {"student": [summarise_model(Plain(), flat, NOISES, 7, "student")]}
    train = summarise_pixels(Plain(), pixels, None, 3, CPU)
    write_examples(tmp_path, {"student": counted}, drawn, train, pixels, [NOISES], batch_size=3)
    assert sum(seen) == 40 + 16 + 32
    assert max(seen) == 3


def test_nearest_training_images_are_those_of_the_same_brightness(folder: Path) -> None:
    found = load_tensors(folder / "neighbours.safetensors")
    assert {name: list(value.shape) for name, value in found.items()} == {
        "student": [16, 1, 4, 4], "nearest": [16, 1, 4, 4], "distance": [16], "label": [16],
    }  # fmt: skip
    expected = flat(*NOISES.batch(0, 16)).clamp(-1, 1)
    torch.testing.assert_close(found["student"], expected)
    assert found["label"].tolist() == [index % 10 for index in range(16)]
    shown = [7 if label == 3 else min(label, 7) for label in found["label"].tolist()]
    assert (((found["nearest"][:, 0, 0, 0] + 1) * 127.5 - 12) / 25).round().tolist() == shown
    distance = (found["student"] - found["nearest"]).flatten(1).norm(dim=1)
    torch.testing.assert_close(found["distance"], distance)


def test_worst_samples_are_those_without_a_training_image_near(folder: Path) -> None:
    """Nothing in the training set is as bright as labels 8 and 9: all of them come first, the brighter ones on top."""
    found = load_tensors(folder / "worst.safetensors")
    assert len(found["student"]) == 32
    assert found["label"][:8].tolist() == [9] * 8
    assert set(found["label"][8:16].tolist()) == {8}
    assert (found["distance"].diff() <= 0).all()
    assert len(set(found["index"].tolist())) == 32
    torch.testing.assert_close(found["student"], flat(*NOISES.at(found["index"])).clamp(-1, 1))


def test_per_class_table_names_what_is_mistaken(folder: Path) -> None:
    table = pd.read_csv(folder / "per_class.csv").set_index("label")
    assert table["count"].tolist() == [8] * 10
    assert table["class_accuracy"].tolist() == [1.0] * 3 + [0.0] + [1.0] * 6
    assert table.loc[3, ["mistaken_for", "mistaken_share"]].tolist() == [7, 1]
    assert table["mistaken_for"].isna().sum() == 9


def test_table_without_labels_is_empty() -> None:
    summary = summarise_pixels(Plain(), torch.zeros(5, 1, 4, 4, dtype=torch.uint8), None, 5, CPU)
    assert isinstance(summary, Summary)
    assert per_class_table({"student": [summary]}).empty


def test_first_samples_are_cut_to_the_range_and_carry_their_noise() -> None:
    grid = first_samples({"twice": lambda z, labels: 2 * z}, NOISES, 20, batch_size=8)
    assert torch.equal(grid["twice"], (2 * grid["z"]).clamp(-1, 1))
    assert grid["label"].bincount().tolist() == [2] * 10
    unlabelled = Noises(seed=5, count=40, shape=(1, 4, 4), num_classes=None, device=CPU)
    assert first_samples({}, unlabelled, 5, batch_size=5)["label"].tolist() == [-1] * 5
