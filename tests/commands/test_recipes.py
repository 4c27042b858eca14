"""Recipes: each is accepted by the params of every small system, and becomes the command that DVC is given."""

from pathlib import Path

import pytest
import yaml

from dmd.commands.overrides import override, parse_values
from dmd.commands.recipes import experiment_command, load_recipe, recipe_names, run_experiment
from dmd.fetch import sources
from dmd.params.config import load_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")))
def test_every_recipe_fits_the_default_params_and_says_where_it_is_from(name: str) -> None:
    config = override(ROOT / "params.yaml", load_recipe(name))
    assert config.alpha == load_recipe(name)["alpha"]
    assert (ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")


def test_every_recipe_sets_what_makes_a_method() -> None:
    """Else another default would change what a name means."""
    keys = {"alpha", "distill.matching.loss", "distill.matching.divergence", "distill.discriminator.kind"}
    keys |= {"distill.discriminator.weight", "distill.num_fake_updates", "distill.fake_warmup_updates"}
    for recipe in map(load_recipe, recipe_names()):
        own = {"distill.matching.sid_a"} if recipe["distill.matching.loss"] == "sid" else set()
        assert keys | own <= set(recipe)


@pytest.mark.parametrize("system", ["mnist", "celeba"])
def test_a_recipe_without_regression_asks_for_no_weights_of_a_distance_and_for_few_pairs(system: str) -> None:
    params = ROOT / "pipelines" / system / "params.yaml"
    assert sources.perceptual(load_config(params).distill.perceptual.name) is not None
    alone = [name for name in recipe_names() if load_recipe(name)["alpha"] == 0 and "4step" not in name]
    assert {"dmd-alpha0", "dmd2", "sid"} <= set(alone)
    for name in alone:
        config = override(params, load_recipe(name))
        assert sources.perceptual(config.distill.perceptual.name) is None
        assert config.pairs.count == 256


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"recipes/dmd3\.yaml.*dmd2.*regression"):
        load_recipe("dmd3")


def test_a_recipe_that_is_no_list_of_params_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "nested.yaml").write_text("distill:\n  steps: 5\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"nested\.yaml.*dotted\.key"):
        load_recipe("nested")


def test_the_command_sets_each_param_as_hydra_reads_it() -> None:
    recipe = {"alpha": 0.0, "distill.discriminator.kind": None, "distill.generator_timesteps": [800, 400]}
    command = experiment_command(recipe, "mine", ["seed=3"], temp=False)
    sets = command[command.index("mine") + 1 :]
    assert command[:4] == ["dvc", "exp", "run", "--name"]
    copied = experiment_command(recipe, "mine", ["seed=3"], temp=True)
    assert copied == [*command[:3], "--temp", *command[3:]]
    assert sets[::2] == ["-S"] * 4
    values = dict(part.split("=") for part in sets[1::2])
    assert {key: yaml.safe_load(value) for key, value in values.items()} == {**recipe, "seed": 3}


def test_params_without_a_pipeline_beside_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no dvc\.yaml beside it"):
        run_experiment(["true"], tmp_path / "params.yaml")


def test_params_that_the_pipeline_does_not_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").touch()
    with pytest.raises(ValueError, match=r"mine\.yaml: the pipeline beside it reads params\.yaml"):
        run_experiment(["true"], tmp_path / "mine.yaml")


def test_values_of_an_axis_may_be_lists() -> None:
    key, values = parse_values("distill.matching.noise=[0.02,8],[0.02,4]")
    assert (key, values) == ("distill.matching.noise", [[0.02, 8], [0.02, 4]])
    assert parse_values("alpha=0,0.25,8") == ("alpha", [0, 0.25, 8])
    assert parse_values("distill.matching.loss=dmd,sid") == ("distill.matching.loss", ["dmd", "sid"])
