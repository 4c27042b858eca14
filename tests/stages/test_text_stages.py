"""All six stages with a text-to-image teacher, from folders to the page and the card; with a CLIP model's score.

The networks have initial weights: this tells of plumbing, not of quality.
"""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from PIL import Image
from typer.testing import CliRunner

from dmd.commands.app import app
from dmd.params.config import load_config
from dmd.runtime.files import load_json
from stages import distill, evaluate, fetch, pairs, report, teacher
from tests.features.test_clip import write as write_clip
from tests.survival.beyond_pixels import TEXT
from tests.survival.hostile_data import PICTURES
from tests.survival.hostile_pipelines import make_pipeline
from tests.survival.victims import SCORED, SYSTEM, write_params

pytestmark = pytest.mark.slow

VOID = {"meta", "link", "img", "br", "hr", "input", "path", "circle", "rect", "use", "line"}
"""Tags that want no end."""

SHORT: dict[str, Any] = {
    "distill.steps": 4,
    "pairs.count": 4,
    "evaluate.clip": "clip",
    "evaluate.num_samples": 24,
    "evaluate.num_sets": 2,
    "evaluate.num_steps": 2,
    "evaluate.batch_size": 12,
}


class Page(HTMLParser):
    """The text of a page, and its tags that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.open = "", [""]

    def handle_data(self, data: str) -> None:
        self.text += "" if self.open[-1] in ("script", "style") else data

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system's folder after all stages."""
    folder = tmp_path_factory.mktemp("text")
    make_pipeline(folder)
    write_clip(folder / "clip")
    write_params(folder, SCORED | PICTURES | TEXT | SHORT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("DMD_DOWNLOADS", raising=False)
        config = load_config(Path("params.yaml"))
        for stage in (fetch, teacher, pairs, distill, evaluate, report):
            stage.main(config)
    return folder


def test_git_keeps_the_scores_beside_the_held_out_prompts(root: Path) -> None:
    found = load_json(root / "metrics" / SYSTEM / "metrics.json")
    for model in ("teacher", "student_before", "student"):
        assert -1 <= found[model]["clip_score"] <= 1
        assert found[model]["fd_lenet"] > 0
        assert not {key for key in found[model] if key.startswith("class_")}
    assert found["run"]["pipeline"] == "StableDiffusionPipeline"


def test_the_page_opens_and_speaks_of_no_classes(root: Path) -> None:
    page = Page()
    page.feed((root / "metrics" / SYSTEM / "report.html").read_text("utf-8"))
    assert page.open == [""]
    assert "clip_score" in page.text
    assert set(re.findall(r"(?i)\w*class\w*", page.text)) == {"num_classes"}, "the params alone"


def test_the_cards_snippet_is_of_the_stock_pipeline(root: Path) -> None:
    card = (root / "models" / SYSTEM / "card" / "README.md").read_text("utf-8")
    assert f'StableDiffusionPipeline.from_pretrained("models/{SYSTEM}/generator")' in card
    assert 'pipeline("a photo of a cat", num_inference_steps=1, guidance_scale=0.0)' in card
    assert "class_labels" not in card
    assert "image_folder images for a prompt" in card
    assert ModelCard(card).data.pipeline_tag == "text-to-image"


def test_the_system_is_drawn_by_prompt(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    result = CliRunner().invoke(app, ["draw", "params.yaml", "files", "--prompt", "a cat", "--count", "1"])
    assert result.exit_code == 0, result.output
    with Image.open(root / "files" / "00000-prompt-0.png") as picture:
        assert picture.size == (28, 28)


def test_no_page_of_the_browser_is_built(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    result = CliRunner().invoke(app, ["demo", "build", SYSTEM])
    assert result.exit_code == 1
    assert "its network makes latents, which this cannot decode; draw with its own pipeline" in " ".join(
        result.output.split()
    )
    assert not (root / "demo").exists()
