"""Stage `pairs`: pre-compute noise-image pairs with the teacher's deterministic ODE."""

from functools import partial
from pathlib import Path

from accelerate import Accelerator

from dmd.runtime.files import folder_sha256, whole_folder
from dmd.training.compile import compile_network
from dmd.params.config import Config
from dmd.diffusion.denoiser import with_guidance
from dmd.datasets.pairs import PairRecipe, make_pairs, shard_name, shard_rows, write_shards
from dmd.pairs.chunks import Pieces
from dmd.diffusion.sampler import check_steps
from dmd.models.teacher import Teacher
from dmd.runtime.work_folder import is_worker, keep_alone, work_folder
from stages.command import cli


def main(config: Config) -> None:
    """Write pairs to data/<system>/pairs as shards and a manifest; pairs that an earlier run made are not made again.

    Any number of processes may run this at once: they share the rows. With $DMD_WORKER set, it only makes rows.
    """
    accelerator = Accelerator()
    folder, settings, dataset = Path("models", config.system, "teacher"), config.pairs, config.dataset
    teacher = Teacher.load(folder)
    check_steps(teacher.scheduler_config, settings.solver, settings.num_steps)
    recipe = PairRecipe(
        config.seed,
        dataset.image_shape,
        dataset.num_classes,
        config.guidance_scale,
        teacher.scheduler_config,
        settings.solver,
        settings.num_steps,
        settings.timestep_spacing,
    )
    params = config.model_dump(mode="json", include={"seed", "dataset", "guidance_scale", "pairs"})
    for key in ("count", "shard_size"):
        del params["pairs"][key]  # neither changes a pair
    work = work_folder(f"pairs/{config.system}", [folder], params)
    pieces = Pieces(work, settings.batch_size)
    if settings.compile:
        compile_network(teacher.backbone, accelerator.device, "pairs.compile")
    denoiser = with_guidance(teacher.denoiser, config.guidance_scale, dataset.num_classes).to(accelerator.device)
    shards = shard_rows(settings.count, settings.shard_size)
    assembles = accelerator.is_main_process and not is_worker()
    if assembles:
        pieces.verify()
    pieces.make(settings.count, partial(make_pairs, denoiser, recipe))
    if assembles:
        out = Path("data", config.system, "pairs")
        with whole_folder(out) as part:
            write_shards(part, shards, pieces.read, recipe, folder_sha256(folder))
        pieces.keep(out, [shard_name(number) for number in range(len(shards))], shards)
        keep_alone(work)


if __name__ == "__main__":
    cli.run(main)
