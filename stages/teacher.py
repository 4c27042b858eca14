"""Stage `teacher`: bring the pretrained model into one format, or train it."""

from pathlib import Path

import torch

from dmd.backbones import build_unet
from dmd.checkpoint import save_json, whole_folder
from dmd.config import Config
from dmd.datasets import load_mnist
from dmd.teacher import Teacher, check_teacher
from dmd.training import TeacherTrainer
from dmd.work import alone_in, finish, work_folder
from stages import cli


def main(config: Config) -> None:
    """Write the teacher to models/<system>/teacher: converted from its source, or trained on the dataset."""
    out = Path("models", config.system, "teacher")
    schedule = config.teacher.schedule.model_dump()
    if config.teacher.source == "train":
        train(config, schedule, out)
    else:
        teacher = Teacher.load(Path("data", config.system, "weights", "teacher"))
        check_teacher(teacher, schedule, config.dataset.image_shape, config.dataset.num_classes)
        with whole_folder(out) as part:
            teacher.save(part)


def train(config: Config, schedule: dict[str, object], out: Path) -> None:
    """Train from scratch; a killed run goes on from its last checkpoint."""
    dataset = Path("data", config.system, "dataset")
    params = {"seed": config.seed, "teacher": config.teacher.model_dump(), "dataset": config.dataset.model_dump()}
    work = work_folder("teacher", [dataset], params)
    classes, recipe, network = config.dataset.num_classes, config.teacher.training, config.teacher.backbone
    if recipe is None or network is None:
        raise ValueError("teacher.source `train` needs the sections teacher.backbone and teacher.training")
    torch.manual_seed(config.seed)
    backbone = build_unet(config.dataset.image_shape, None if classes is None else classes + 1, **network.model_dump())
    teacher = Teacher(backbone, {"_class_name": "DDPMScheduler", **schedule, "clip_sample": False})
    pixels, labels = load_mnist(dataset, "train")
    trainer = TeacherTrainer(teacher.denoiser, pixels, None if classes is None else labels, recipe, config.seed)
    with alone_in(work):
        losses = trainer.run(work)
        if trainer.accelerator.is_main_process:
            with whole_folder(out) as part:
                teacher.save(part)
                last = losses[-250:]
                save_json(part / "training.json", {"steps": recipe.steps, "final_loss": sum(last) / len(last)})
            finish(work)


if __name__ == "__main__":
    cli.run(main)
