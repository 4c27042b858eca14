"""What a training has so far is what its checkpoint holds; at the last one, what it ends with."""

from pathlib import Path

import pytest
import torch

from dmd.models.teacher import Teacher
from dmd.params.config import Config
from dmd.runtime.files import load_json
from tools.ship_so_far import place_average
from tools.teacher_trials import build_trainer


def test_the_last_checkpoint_has_what_the_training_ends_with(config: Config) -> None:
    _, trainer = build_trainer(config)
    trainer.run(Path("work"))
    assert place_average(config, Path("work/step-00000004"), Path("last")) == 4
    found = Teacher.load(Path("last")).backbone.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in trainer.backbone.state_dict().items())
    assert place_average(config, Path("work/step-00000002"), Path("middle")) == 2
    middle = Teacher.load(Path("middle")).backbone.state_dict()
    assert any(not torch.equal(value, middle[name]) for name, value in found.items())
    assert load_json(Path("middle/training.json"))["steps"] == 2


def test_a_broken_checkpoint_is_named(config: Config) -> None:
    Path("work/step-00000002").mkdir(parents=True)
    with pytest.raises(ValueError, match="work/step-00000002 is no whole checkpoint"):
        place_average(config, Path("work/step-00000002"), Path("out"))
