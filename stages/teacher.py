"""Stage `teacher`: bring the pretrained model into one format, or train it."""

from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from accelerate import PartialState
from diffusers import AutoencoderKL

from dmd.datasets.prompts import read_prompts
from dmd.datasets.registry import load_dataset
from dmd.diffusion.prompts import Prompts
from dmd.models import text
from dmd.models.codec import FOLDER, latent_shape, multiple_of
from dmd.models.compatibility import check_agreement, without_own_betas
from dmd.models.karras import is_karras
from dmd.models.teacher import HASHED, Teacher
from dmd.params.config import Config
from dmd.runtime.files import file_sha256, save_json, whole_folder
from dmd.runtime.handed import read_json
from dmd.runtime.places import Places
from dmd.runtime.work_folder import alone_in, finish, work_folder
from dmd.teacher.autoencoder import AutoencoderTrainer, build_autoencoder
from dmd.teacher.network import build_backbone
from dmd.teacher.scheduler import canonical_scheduler, scheduler_config
from dmd.teacher.trainer import TeacherTrainer
from dmd.types import Pixels
from stages.command import cli


def main(config: Config) -> None:
    """Write the teacher to models/<system>/teacher: converted from its source, trained on the dataset, or untrained."""
    out = Places(config.system).teacher
    if config.teacher.source == "train":
        train(config, out)
    elif config.teacher.source == "random":
        with whole_folder(out) as part:
            keep(fresh(config), part, {"source": "random", "seed": config.seed, "note": "untrained"})
    else:
        bring(config, out)


def bring(config: Config, out: Path) -> None:
    """Convert what `fetch` brought."""
    source, dataset = Places(config.system).weights("teacher"), config.dataset
    network, schedule = read_json(source / "config.json"), config.teacher.schedule
    described = without_own_betas(network, read_json(source / "scheduler_config.json"))
    wanted = None if schedule is None else schedule.model_dump()
    codec = described_codec(source, config.teacher.latent_scale)
    known, words = (dataset.image_shape, dataset.num_classes), described_text(source)
    config.check_prompts(told=words is not None)
    found = check_agreement(network, described, wanted, *known, codec=codec, text=words, **config.asked_of_the_network)
    config.check_schedule(found)
    if codec is not None:
        config.check_latents()
    given = Teacher.load(source)
    backbone, prompts = given.backbone, None
    if given.text_folder is not None:
        prompts = encoded(given.text_folder)
    if given.autoencoder is not None and codec is not None:
        given.autoencoder.register_to_config(scaling_factor=codec["scaling_factor"])
    if backbone.config.sample_size is None:
        backbone.register_to_config(sample_size=dataset.image_shape[1:])
    with whole_folder(out) as part:
        scheduler = scheduler_config(backbone, canonical_scheduler(found))
        made = Teacher(backbone, scheduler, given.autoencoder, prompts, given.text_folder)
        keep(made, part, read_json(source / "origin.json"))


def described_codec(source: Path, scale: float | None) -> dict[str, Any] | None:
    """The config of the codec that `fetch` brought, with the scale of the params where they have one.

    Raises:
        ValueError: they have one, and there is no codec.
    """
    folder = source / FOLDER
    if folder.is_dir():
        found = read_json(folder / "config.json")
        return found if scale is None else {**found, "scaling_factor": scale}
    if scale is not None:
        raise ValueError(f"teacher.latent_scale {scale}: the teacher makes images, not latents; set it to null")
    return None


def described_text(source: Path) -> dict[str, Any] | None:
    """The config of the text encoder that `fetch` brought; None of a teacher that is told no prompts."""
    path = source / text.ENCODER / "config.json"
    return read_json(path) if path.is_file() else None


def encoded(source: Path) -> Prompts:
    """The prompts that `fetch` brought, by the tokenizer and the encoder beside them, on accelerate's device."""
    words, texts = text.load_text(source), read_prompts(source / text.TEXTS)
    words.encoder.to(PartialState().device)
    return text.encode_prompts(words, *texts)


def fresh(config: Config) -> Teacher:
    """A network with initial weights, a function of the seed; a class on top of the dataset's means none."""
    classes, network, schedule = config.dataset.num_classes, config.teacher.backbone, config.teacher.schedule
    if network is None or schedule is None:
        raise ValueError(f"teacher.source `{config.teacher.source}` needs teacher.backbone and teacher.schedule")
    torch.manual_seed(config.seed)
    embeds, settings, shape = None if classes is None else classes + 1, network.model_dump(), config.dataset.image_shape
    codec, autoencoder = None, None
    if config.teacher.codec is not None:
        autoencoder = build_autoencoder(config.teacher.codec, shape[0])
        codec = {"_class_name": type(autoencoder).__name__, **autoencoder.config}
        shape = latent_shape(codec, shape, multiple_of(settings))
    backbone = build_backbone(settings, schedule.model_dump(), shape, embeds)
    described = canonical_scheduler(schedule.model_dump())
    if not is_karras(described):
        described = {"_class_name": "DDPMScheduler", **described}
    made = {"_class_name": type(backbone).__name__, **backbone.config}  # held to what an import must pass
    known = config.dataset.image_shape, classes
    check_agreement(made, described, None, *known, codec=codec, **config.asked_of_the_network)
    return Teacher(backbone, scheduler_config(backbone, described), autoencoder)


def train(config: Config, out: Path) -> None:
    """Train from scratch; a killed run goes on from its last checkpoint."""
    dataset, recipe = Places(config.system).dataset, config.teacher.training
    params = {"seed": config.seed, "teacher": config.teacher.model_dump(), "dataset": config.dataset.model_dump()}
    work = work_folder("teacher", [dataset], params)
    if recipe is None:
        raise ValueError("teacher.source `train` needs the section teacher.training")
    teacher = fresh(config)
    pixels, labels = load_dataset(config.dataset.name, dataset, "train")
    conditional = config.dataset.num_classes is not None
    trainer = TeacherTrainer(teacher.denoiser, pixels, labels if conditional else None, recipe, config.seed)
    autoencoder = autoencoder_trainer(config, teacher, pixels)
    with alone_in(work):
        facts: dict[str, Any] = {}
        if autoencoder is not None:
            facts["codec"] = summary(autoencoder.run(work / FOLDER))
            trainer.images = autoencoder.encode()
        facts |= summary(trainer.run(work))
        if trainer.accelerator.is_main_process:
            with whole_folder(out) as part:
                keep(teacher, part, {"source": "train", "seed": config.seed})
                save_json(part / "training.json", facts)
            finish(work)


def autoencoder_trainer(config: Config, teacher: Teacher, pixels: Pixels) -> AutoencoderTrainer | None:
    """What trains the codec, of a teacher of latents."""
    codec, recipe, autoencoder = config.teacher.codec, config.teacher.training, teacher.autoencoder
    if codec is None or codec.training is None or recipe is None or not isinstance(autoencoder, AutoencoderKL):
        return None
    multiple = multiple_of(teacher.backbone.config)
    return AutoencoderTrainer(autoencoder, pixels, codec.training, multiple, recipe.mixed_precision, config.seed)


def summary(losses: list[float]) -> dict[str, float]:
    """How long something was trained, and its loss over the last steps."""
    return {"steps": len(losses), "final_loss": fmean(losses[-250:])}


def keep(teacher: Teacher, out: Path, origin: dict[str, Any]) -> None:
    """Write the teacher with its provenance: where it is from, and the hashes of its weights."""
    teacher.save(out)
    hashes = {key: file_sha256(out / name) for key, name in HASHED.items() if (out / name).is_file()}
    save_json(out / "provenance.json", {**origin, **hashes})


if __name__ == "__main__":
    cli.run(main)
