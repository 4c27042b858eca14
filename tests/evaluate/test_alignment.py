"""Each kept image is scored beside the prompt that it was drawn for, set by set."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dmd.evaluate.alignment import Alignment
from dmd.evaluate.noises import Noises
from dmd.evaluate.summaries import Summary, summarise_model

CPU = torch.device("cpu")


class Features(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        return images.flatten(1), None


class Told(nn.Module):
    """The text's length, where the image is that of the text's label."""

    def forward(self, images: Tensor, prompts: list[str]) -> Tensor:
        assert images[:, 0, 0, 0].mul(10).round().tolist() == [{"abc": 4, "abcdef": 5}[prompt] for prompt in prompts]
        return torch.tensor([float(len(prompt)) for prompt in prompts])


def draw(z: Tensor, labels: Tensor | None) -> Tensor:
    """Images that show their label."""
    assert labels is not None
    return (labels / 10)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()


@pytest.mark.parametrize("count", [3, 120])
def test_the_score_is_the_mean_over_the_images_of_each_set(count: int) -> None:
    sets = Noises(0, count, (1, 2, 2), 2, CPU, first_label=4).sets(2)
    summaries: list[Summary] = [summarise_model(Features(), draw, part, 50, "x") for part in sets]
    found: dict[str, Any] = Alignment(Told(), ["abc", "abcdef"]).over_sets(summaries, sets)
    means = [4.0, 5.0] if count == 3 else [4.5, 4.5]
    assert found["clip_score"] == pytest.approx(sum(means) / 2)
    assert found["clip_num_samples"] == count
    assert found["num_sets"] == 2
