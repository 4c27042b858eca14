"""Stage `pairs`: pre-compute noise-image pairs with the teacher's deterministic ODE."""

from functools import partial

from accelerate import Accelerator

from dmd.datasets.pairs import shard_name, shard_rows, write_shards
from dmd.diffusion.guidance import with_guidance
from dmd.models.teacher import Teacher
from dmd.pairs.chunks import Chunks
from dmd.pairs.recipe import PairRecipe, make_pairs
from dmd.params.config import Config
from dmd.runtime.files import folder_sha256, whole_folder
from dmd.runtime.launched import is_worker
from dmd.runtime.places import Places
from dmd.runtime.work_folder import keep_alone, work_folder
from dmd.training.compile import compile_network
from stages.command import cli


def main(config: Config) -> None:
    """Write pairs to data/<system>/pairs as shards and a manifest; pairs that an earlier run made are not made again.

    Any number of processes may run this at once: they share the rows. With $DMD_WORKER set, it only makes rows.
    """
    accelerator = Accelerator(mixed_precision="no")  # whatever a launcher asks of the trainings
    places, settings, dataset = Places(config.system), config.pairs, config.dataset
    teacher = Teacher.load(places.teacher)
    settings.check_timesteps(teacher.scheduler_config["num_train_timesteps"], "pairs")
    labels = teacher.num_labels(dataset.num_classes)
    recipe = PairRecipe(
        config.seed,
        teacher.codec(dataset.image_shape).latent_shape,
        labels,
        config.guidance_scale,
        teacher.scheduler_config,
        settings.solver,
        settings.num_steps,
        settings.timestep_spacing,
    )
    params = config.model_dump(mode="json", include={"seed", "dataset", "guidance_scale", "pairs"})
    for key in ("count", "shard_size"):
        del params["pairs"][key]  # neither changes a pair
    work = work_folder(f"pairs/{config.system}", [places.teacher], params)
    chunks = Chunks(work, settings.batch_size)
    if settings.compile:
        compile_network(teacher.backbone, accelerator.device, "pairs.compile")
    denoiser = with_guidance(teacher.denoiser, config.guidance_scale, labels).to(accelerator.device)
    shards = shard_rows(settings.count, settings.shard_size)
    assembles = accelerator.is_main_process and not is_worker()
    if assembles:
        chunks.verify()
    chunks.make(settings.count, partial(make_pairs, denoiser, recipe))
    if assembles:
        with whole_folder(places.pairs) as part:
            write_shards(part, shards, chunks.read, recipe.columns | {"teacher_sha256": folder_sha256(places.teacher)})
        chunks.keep(places.pairs, [shard_name(number) for number in range(len(shards))], shards)
        keep_alone(work)


if __name__ == "__main__":
    cli.run(main)
