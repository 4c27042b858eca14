"""The page and the card say what a run was: whose tables stand beside it, and of how many calls its generator is."""

import re
from pathlib import Path

import pandas as pd

from dmd.params.config import load_config
from dmd.report.model_card import model_card
from dmd.report.tables import headline, parameter_table, score_table, steps_table
from dmd.runtime.files import save_json
from stages import report
from tests.stages.made_up import scores, write_system

ROOT = Path(__file__).resolve().parents[2]


def test_curves_of_another_teacher_are_named(tmp_path, monkeypatch):
    evaluation = write_system(tmp_path)
    table = tmp_path / "docs/results/data/tables/mnist-small/teacher_steps.csv"
    pd.read_csv(table).assign(teacher=["0123abcd", "89ef4567"]).to_csv(table, index=False)
    found = scores()
    save_json(evaluation / "scores.json", found | {"run": found["run"] | {"teacher_sha256": "0123abcd" + 56 * "0"}})
    monkeypatch.chdir(tmp_path)
    report.main(load_config(ROOT / "params.yaml"))
    assert (
        "curves are of the teacher 89ef4567; that of this run is 0123abcd."
        in (tmp_path / "metrics" / "mnist-small" / "report.html").read_text()
    )


def test_a_teacher_whose_hash_is_all_digits_is_a_teacher_like_others(tmp_path, monkeypatch):
    evaluation = write_system(tmp_path)
    table = tmp_path / "docs/results/data/tables/mnist-small/teacher_steps.csv"
    pd.read_csv(table).assign(teacher="01234567").to_csv(table, index=False)
    found = scores()
    save_json(evaluation / "scores.json", found | {"run": found["run"] | {"teacher_sha256": "01234567" + 56 * "0"}})
    monkeypatch.chdir(tmp_path)
    report.main(load_config(ROOT / "params.yaml"))
    assert "curves are of the teacher" not in (tmp_path / "metrics" / "mnist-small" / "report.html").read_text()


def test_a_generator_of_several_steps_is_not_called_one_of_one():
    params = load_config(ROOT / "params.yaml").model_dump(mode="json")
    params["distill"] |= {"generator_timesteps": [800, 600, 400, 200]}
    found = scores()
    found["student"] |= {"nfe": 4}
    assert steps_table(params, found, pd.DataFrame())["num_steps"].tolist()[-2:] == [4, 4]
    assert list(headline(found))[:2] == ["fd_lenet, 4 steps", "fd_lenet, 4 steps before distillation"]
    assert list(score_table(found).index)[:3] == ["teacher", "4 steps, before", "4 steps, after"]
    assert "matched" not in parameter_table(params, {}).to_string()
    params["distill"] |= {"matched_steps": "last"}
    assert "800, 600, 400, 200; matched at the last" in parameter_table(params, {}).to_string()
    card = model_card(params, found, {"steps": 5, "parameters": 7}, "models/generator")
    assert "with 4 calls of its network" in card
    assert "few-step" in card
    assert not re.search("one-step|single call", card.partition("## Limits")[0])
