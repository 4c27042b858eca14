"""Stage report, on made-up scores and pictures: what git keeps, and the card."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import ModelCard

from dmd.params.config import load_config
from dmd.params.karras import KarrasSchedule
from dmd.report.metrics_folder import round_floats, thin
from dmd.report.model_card import markdown_table
from dmd.report.tables import parameter_table, score_table, steps_table
from dmd.report.talk_parameters import TALK
from dmd.runtime.files import save_json
from stages import report
from tests.stages.made_up import losses, scores, write_system

ROOT = Path(__file__).resolve().parents[2]
OUTPUTS = {
    "metrics.json",
    "losses.csv",
    "health.csv",
    "steps.csv",
    "samples_teacher.png",
    "samples_before.png",
    "samples_student.png",
    "history.png",
    "losses.png",
    "report.html",
}
TABLE_ROW = ["one step, after", "7.988 ± 0.08", "2.5", "0.98 ± 0.001", "1", "0.001"]


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """Everything the stage reads, in a folder of its own."""
    root = tmp_path_factory.mktemp("system")
    write_system(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


@pytest.fixture(scope="module")
def written(system):
    report.main(load_config(ROOT / "params.yaml"))
    return system


class Page(HTMLParser):
    """What a page loads and holds."""

    def __init__(self):
        super().__init__()
        self.links, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset")]


def test_outputs_are_those_of_the_stage(written):
    assert {path.name for path in (written / "metrics" / "mnist-small").iterdir()} == OUTPUTS
    assert (written / "models" / "mnist-small" / "card" / "README.md").is_file()


def test_metrics_keep_six_digits(written):
    metrics = json.loads((written / "metrics" / "mnist-small" / "metrics.json").read_text())
    assert metrics["teacher"]["fd_lenet"] == 5.12346
    assert metrics["student"]["nfe"] == 1
    assert metrics["run"]["teacher"] == "0123abcd"
    kept = pd.read_csv(written / "metrics" / "mnist-small" / "losses.csv")
    pd.testing.assert_frame_equal(kept, losses(), rtol=1e-5, check_dtype=False)


def test_second_run_writes_the_same_bytes(written):
    folder = written / "metrics" / "mnist-small"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    report.main(load_config(ROOT / "params.yaml"))
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def page_of(folder):
    text = (folder / "metrics" / "mnist-small" / "report.html").read_text()
    page = Page()
    page.feed(text)
    return text, page


def test_page_needs_nothing_from_outside(written):
    text, page = page_of(written)
    assert all(link.startswith("data:") for link in page.links)
    assert page.tags.count("img") == 3 + 5 + 11 + 10 + 8 + 6  # samples, panels, slider, classes, neighbours, worst
    assert page.tags.count("svg") == 3 + 1 + 2 + 3  # steps, timesteps, losses (40 updates are one epoch), health
    assert not re.search(r"url\((?!#)|@import", text)
    assert "7.99" in text
    assert "7.988 ± 0.08" in text
    assert "712,345" in text
    assert "prefers-color-scheme: dark" in text
    assert "collapsed" not in text
    assert len(text) < 5e6


def test_unconditional_models_have_no_classes_on_their_page(tmp_path, monkeypatch):
    write_system(tmp_path, labels=False)
    monkeypatch.chdir(tmp_path)
    report.main(load_config(ROOT / "params.yaml"))
    text, page = page_of(tmp_path)
    assert page.tags.count("img") == 3 + 5 + 11 + 8 + 6
    assert "class accuracy" not in text
    assert "<h2>Classes</h2>" not in text


def test_a_run_that_collapsed_is_named_on_its_page(tmp_path, monkeypatch):
    write_system(tmp_path)
    path = tmp_path / "data" / "mnist-small" / "training" / "health.csv"
    table = pd.read_csv(path)
    table.loc[5:, "variety"] = 0.001
    table.to_csv(path, index=False)
    monkeypatch.chdir(tmp_path)
    report.main(load_config(ROOT / "params.yaml"))
    assert "The run collapsed at update 20: constant images" in page_of(tmp_path)[0]


def test_an_untrained_teacher_is_named_on_top_of_the_page(tmp_path, monkeypatch):
    evaluation = write_system(tmp_path)
    found = scores()
    found["run"]["teacher_note"] = "untrained"
    save_json(evaluation / "scores.json", found)
    monkeypatch.chdir(tmp_path)
    report.main(load_config(ROOT / "params.yaml"))
    assert "The teacher is untrained: this run shows that the system works, and no more." in page_of(tmp_path)[0]


def test_text_of_a_run_cannot_become_markup(tmp_path, monkeypatch):
    evaluation = write_system(tmp_path)
    save_json(evaluation / "scores.json", scores() | {"run": {"note": "<script>alert(1)</script>"}})
    monkeypatch.chdir(tmp_path)
    report.main(load_config(ROOT / "params.yaml"))
    text, page = page_of(tmp_path)
    assert page.tags.count("script") == 1
    assert "&lt;script&gt;" in text


def test_steps_end_with_the_one_step_rows(written):
    steps = pd.read_csv(written / "metrics" / "mnist-small" / "steps.csv")
    assert steps["model"].tolist() == ["teacher"] * 3 + ["student_before", "student"]
    assert steps["nfe"].tolist() == [10, 20, 20, 1, 1]
    assert steps["distance"].tolist() == [9.0, 6.0, 5.12346, 900.5, 7.98765]
    assert steps["num_samples"].tolist() == [2000] * 2 + [10000] * 3
    params = load_config(ROOT / "params.yaml").model_dump(mode="json")
    assert len(steps_table(params, scores(), pd.DataFrame())) == 3


def test_the_spacing_is_part_of_a_solvers_name_where_it_is_leading():
    params = load_config(ROOT / "params.yaml").model_dump(mode="json")
    known = pd.DataFrame({"solver": "ddim", "timestep_spacing": ["leading", "trailing"], "nfe": 10, "fd_lenet": 9.0})
    evaluate = params["evaluate"] | {"solver": "heun", "timestep_spacing": "leading"}
    steps = steps_table(params | {"evaluate": evaluate}, scores(), known)
    assert steps["solver"].tolist()[:3] == ["ddim, leading", "ddim", "heun, leading"]


def test_page_shows_the_one_step_over_its_timestep_where_that_was_measured(written, tmp_path, monkeypatch):
    page = (written / "metrics" / "mnist-small" / "report.html").read_text()
    assert "Timestep of the one step" in page
    assert "321.2" in page  # 321.25 to four digits
    write_system(tmp_path)
    (tmp_path / "docs/results/data/tables/mnist-small/generator_timesteps.csv").unlink()
    monkeypatch.chdir(tmp_path)
    report.main(load_config(ROOT / "params.yaml"))
    assert "Timestep of the one step" not in (tmp_path / "metrics/mnist-small/report.html").read_text()


def test_long_runs_are_thinned_to_means():
    kept = thin(losses(4001), max_rows=1000)
    assert len(kept) == 801
    assert kept["step"].tolist()[:2] == [5, 10]
    assert kept["step"].iloc[-1] == 4001
    assert kept["distribution_matching"].iloc[0] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 5)
    pd.testing.assert_frame_equal(thin(losses(10)), losses(10))


def test_score_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match=r"scores\.student\.fd_lenet is nan"):
        round_floats({"student": {"fd_lenet": float("nan")}})


def test_tables_say_what_was_used():
    table = score_table(scores())
    assert list(table.index) == ["teacher", "one step, before", "one step, after", "real test images"]
    assert table.loc["real test images", "fd_lenet"] == 1.7
    assert table.loc["teacher", "fd_lenet"] == "5.123 ± 0.051"
    assert "fd_lenet_std" not in table
    assert np.isnan(table.loc["real test images", "nfe"])
    params = load_config(ROOT / "params.yaml").model_dump(mode="json")
    params["distill"] |= {"steps": 2000, "pairs_batch_size": 64}
    params["pairs"] |= {"count": 12800}
    used = parameter_table(params, {})
    assert list(used) == ["this run"]
    beside = parameter_table(params | {"system": "mnist"}, {"parameters": 6585601})
    assert list(beside) == ["this run", "the talk"]
    assert beside.loc["total parameters"].tolist() == ["6,585,601"] * 2
    assert set(TALK["mnist"]) <= set(beside.index[beside["this run"].notna()])
    used = used["this run"]
    assert used["betas"] == "0.0001 … 0.02, linear"
    left = params | {"teacher": params["teacher"] | {"schedule": None}}
    assert parameter_table(left, {}).loc["betas", "this run"] == "the checkpoint's"
    edm = params | {"teacher": params["teacher"] | {"schedule": KarrasSchedule(prediction_type="edm").model_dump()}}
    assert parameter_table(edm, {}).loc["sigmas", "this run"] == "0.002 … 80, rho 7"
    assert used["epochs of the pairs"] == "10"
    assert used["pre-computed pairs"].startswith("12,800")
    assert "total parameters" not in used


def test_card_is_what_the_hub_reads(written):
    card = ModelCard.load(written / "models" / "mnist-small" / "card" / "README.md")
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results["fd_lenet"] == 7.98765
    assert results["class_accuracy"] == 0.98
    assert card.data.library_name == "diffusers"
    row = next(line for line in card.text.splitlines() if line.startswith("| one step, after "))
    assert [cell.strip() for cell in row.split("|")[1:-1]] == TABLE_ROW


def test_a_table_of_the_card_keeps_its_cells_whatever_they_hold():
    frame = pd.DataFrame({"value": ["a|b", 1e-4, 20, 3.0, None, 0.123456]}, index=list("uvwxyz"))
    lines = markdown_table(frame).splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert cells[0] == ["", "value"]
    assert all(set(cell) <= set(":-") for cell in cells[1])
    values = [r"a\|b", "0.0001", "20", "3", "", "0.1235"]
    assert cells[2:] == [[name, value] for name, value in zip("uvwxyz", values, strict=True)]
