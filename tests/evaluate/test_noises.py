"""Labels of an evaluation: classes in turn, or held-out prompts in turn, which no feature net knows."""

import torch

from dmd.diffusion.prompts import Prompts, evaluated_labels
from dmd.evaluate.noises import Noises

CPU = torch.device("cpu")


def test_held_out_prompts_come_in_turn_and_are_no_classes() -> None:
    prompts = Prompts(torch.zeros(3, 5, 8), torch.zeros(1, 5, 8), torch.zeros(2, 5, 8))
    count, first = evaluated_labels(prompts, None)
    noises = Noises(0, 5, (1, 2, 2), count, CPU, first_label=first)
    z, labels = noises.batch(0, 5)
    assert labels.tolist() == [4, 5, 4, 5, 4]
    assert noises.classes(labels) is None
    second = noises.sets(2)[1].batch(0, 2)
    assert second[1].tolist() == [5, 4]
    assert torch.equal(z, Noises(0, 5, (1, 2, 2), None, CPU).batch(0, 5)[0])


def test_classes_are_as_they_were() -> None:
    count, first = evaluated_labels(None, 10)
    noises = Noises(0, 12, (1, 2, 2), count, CPU, first_label=first)
    labels = noises.batch(0, 12)[1]
    assert labels.tolist() == [*range(10), 0, 1]
    assert noises.classes(labels) is labels
    assert evaluated_labels(None, None) == (None, 0)
