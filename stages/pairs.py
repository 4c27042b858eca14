"""Stage `pairs`: pre-compute noise-image pairs with the teacher's deterministic ODE."""

from pathlib import Path

from accelerate import Accelerator

from dmd.checkpoint import folder_sha256
from dmd.config import Config
from dmd.denoiser import with_guidance
from dmd.pairs import PairRecipe, make_pairs, shard_is_whole, shard_rows, write_manifest, write_shard
from dmd.progress import track
from dmd.teacher import Teacher
from dmd.work import finish, work_folder
from stages import cli


def main(config: Config) -> None:
    """Write pairs to data/<system>/pairs as shards and a manifest; a killed run goes on with the missing shards."""
    accelerator = Accelerator()
    folder, settings = Path("models", config.system, "teacher"), config.pairs
    teacher = Teacher.load(folder)
    recipe = PairRecipe(
        config.seed,
        config.dataset.image_shape,
        config.dataset.num_classes,
        config.guidance_scale,
        teacher.scheduler_config,
        settings.solver,
        settings.num_steps,
        settings.timestep_spacing,
    )
    params = config.model_dump(mode="json", include={"seed", "dataset", "guidance_scale", "pairs"})
    work = work_folder("pairs", [folder], params)
    denoiser = with_guidance(teacher.denoiser, config.guidance_scale, config.dataset.num_classes).to(accelerator.device)
    shards = shard_rows(settings.count, settings.shard_size)
    mine = list(enumerate(shards))[accelerator.process_index :: accelerator.num_processes]
    for number, rows in track(mine, "pairs", total=len(mine), unit="shard"):
        if not shard_is_whole(work, number, rows):
            write_shard(work, number, rows, make_pairs(denoiser, recipe, rows, settings.batch_size))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_manifest(work, Path("data", config.system, "pairs"), recipe, folder_sha256(folder), len(shards))
        finish(work)


if __name__ == "__main__":
    cli.run(main)
