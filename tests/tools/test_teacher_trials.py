"""Trials of a teacher's settings: each has a row, with the settings and the images of its own."""

from pathlib import Path

import pandas as pd

from dmd.params.config import Config
from stages.teacher import fresh
from tests.survival.victims import TRAINED
from tools.teacher_trials import main

PARAMS = Path("params.yaml")


def test_a_trial_has_a_row_with_the_settings_and_images_of_its_own(config: Config) -> None:
    axes = ["teacher.backbone.block_out_channels=[4, 8],[8, 8]"]
    main(PARAMS, Path("trials.csv"), 0.2, axes, samples=20)
    rows = pd.read_csv("trials.csv")
    assert list(rows["changes"]) == ["backbone.block_out_channels [4, 8]", "backbone.block_out_channels [8, 8]"]
    first, second = rows["parameters"]
    assert first == sum(weights.numel() for weights in fresh(config).backbone.parameters()) < second
    assert (rows["images_seen"] % TRAINED["teacher.training.batch_size"] == 0).all()
    assert (rows["fd_lenet"] > 0).all()
    main(PARAMS, Path("trials.csv"), 0.2, axes, samples=20)
    pd.testing.assert_frame_equal(pd.read_csv("trials.csv"), rows)
