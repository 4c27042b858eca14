"""Sections of the report that stand where a training or an evaluation kept what they show."""

from pathlib import Path

import pandas as pd
import torch

from dmd.params.config import load_config
from dmd.runtime.files import load_tensors, save_json, save_tensors
from stages import report
from tests.stages.made_up import write_system
from tests.stages.test_report import page_of

ROOT = Path(__file__).resolve().parents[2]


def test_page_shows_whether_a_run_converges_where_its_training_kept_that(tmp_path, monkeypatch):
    evaluation = write_system(tmp_path)
    monkeypatch.chdir(tmp_path)
    report.main(load_config(ROOT / "params.yaml"))
    before, tags_before = page_of(tmp_path)
    assert "<h2>Is it converging?" not in before
    assert "<h2>What both scores see" not in before
    curve = pd.DataFrame({"step": [0, 20, 40], "fd_lenet": [900.5, 77.125, 9.0], "num_samples": 2000})
    curve.to_csv(evaluation / "curve.csv", index=False)
    training = evaluation.parent / "training"
    history = load_tensors(training / "history.safetensors")
    panels = {f"panel_step_{step:05d}": torch.rand(3, 2, 8, 1, 28, 28) * 2 - 1 for step in (4, 40)}
    save_tensors(training / "history.safetensors", history | panels)
    save_json(training / "training.json", {"steps": 40, "parameters": 712345, "noise_levels": [0.0517, 0.3464, 2.318]})
    report.main(load_config(ROOT / "params.yaml"))
    text, tags = page_of(tmp_path)
    assert "<h2>Is it converging?" in text
    assert "77.12" in text
    assert "σ/α = 0.052, 0.35, 2.3" in text
    assert tags.tags.count("img") == tags_before.tags.count("img") + 2
    assert tags.tags.count("svg") == tags_before.tags.count("svg") + 1
