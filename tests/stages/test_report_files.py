"""Files of the stage report: what it reads is as it was written, what it writes replaces what is there."""

from pathlib import Path

import pytest

from dmd.params.config import load_config
from stages import report
from tests.stages.made_up import write_system
from tests.stages.test_report import OUTPUTS

ROOT = Path(__file__).resolve().parents[2]


def test_links_to_a_cache_are_replaced_and_not_written_through(tmp_path, monkeypatch):
    """As DVC leaves outputs with `cache.type symlink`."""
    write_system(tmp_path)
    outputs = [tmp_path / "metrics" / "mnist-small" / name for name in OUTPUTS]
    outputs.append(tmp_path / "models" / "mnist-small" / "card" / "README.md")
    for number, path in enumerate(outputs):
        path.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"cached-{number}").write_text("cached")
        path.symlink_to(tmp_path / f"cached-{number}")
    monkeypatch.chdir(tmp_path)
    report.main(load_config(ROOT / "params.yaml"))
    assert {path.read_text() for path in tmp_path.glob("cached-*")} == {"cached"}
    assert not any(path.is_symlink() for path in outputs)
    assert {path.name for path in outputs[0].parent.iterdir()} == OUTPUTS


BROKEN = {
    "evaluation/scores.json": ("{}", "evaluate"),
    "evaluation/per_class.csv": ("a,b\n", "evaluate"),
    "evaluation/samples.safetensors": ("", "evaluate"),
    "training/losses.csv": ("step,distribution_matching,regression,fake\n", "distill"),
    "training/health.csv": ("", "distill"),
    "training/history.safetensors": ("no tensors", "distill"),
    "training/training.json": ("[]", "distill"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_of_another_shape_is_named_with_its_stage(name, tmp_path, monkeypatch):
    write_system(tmp_path)
    content, stage = BROKEN[name]
    (tmp_path / "data" / "mnist-small" / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"^data/mnist-small/{name} (is|has) .*; run the stage `{stage}` again"):
        report.main(load_config(ROOT / "params.yaml"))
    assert not (tmp_path / "metrics").exists()
