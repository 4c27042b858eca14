"""Stage `fetch`: the real images and the pretrained weights, verified. The only stage that uses the network."""

import logging
from pathlib import Path

from dmd.datasets.prompts import read_prompts
from dmd.datasets.registry import check_dataset
from dmd.fetch import sources
from dmd.fetch.dataset import find_images, place_dataset
from dmd.fetch.downloads import downloads_folder, obtain
from dmd.fetch.features import check_feature_net, place_feature_net
from dmd.fetch.perceptual import place_perceptual
from dmd.fetch.teacher import find_teacher, place_teacher
from dmd.models.compatibility import check_agreement
from dmd.models.text import check_installed
from dmd.params.config import Config
from dmd.runtime.places import Places
from dmd.runtime.work_folder import given
from stages.command import cli

logger = logging.getLogger(__name__)


def main(config: Config) -> None:
    """Bring the dataset and the pretrained weights, verified; the only stage that uses the network.

    Files that are already in downloads/ (or $DMD_DOWNLOADS) and right are used without any network.
    """
    dataset, timeout, downloads = config.dataset, config.fetch.timeout_seconds, downloads_folder()
    check_dataset(dataset.name, dataset.image_shape, dataset.num_classes)
    check_feature_net(config.evaluate.features, dataset.name, dataset.image_shape, dataset.num_classes)
    folder = None if dataset.folder is None else str(given(Path(dataset.folder)))
    prompts = None if dataset.prompts is None else given(Path(dataset.prompts))
    if prompts is not None:
        read_prompts(prompts)
    images = find_images(dataset.name, folder, downloads)
    teacher, schedule = find_teacher(config.teacher.source, config.teacher.revision, downloads, timeout), None
    if config.teacher.schedule is not None:
        schedule = config.teacher.schedule.model_dump()
    if teacher is not None:
        config.check_prompts(told=teacher.text is not None)
        if teacher.text is not None:
            check_installed()
        known, asked = (dataset.image_shape, dataset.num_classes), config.asked_of_the_network
        found = check_agreement(*teacher.configs, schedule, *known, codec=teacher.codec, text=teacher.text, **asked)
        if teacher.codec is not None:
            config.check_latents()
        config.check_schedule(found)

    perceptual = config.distill.perceptual.name
    features = config.evaluate.features
    needed = (sources.dataset(dataset.name, config.fetch.mirrors), sources.perceptual(perceptual))
    for source in filter(None, (*needed, sources.features(features))):
        obtain(source.originals, source.mirrors, downloads / source.folder, timeout)

    places = Places(config.system)
    place_dataset(dataset.name, images, dataset.image_shape, downloads, places.dataset)
    place_teacher(teacher, places.weights("teacher"), prompts)
    place_feature_net(features, downloads, places.weights("features"))
    place_perceptual(perceptual, downloads, places.weights("perceptual"))
    logger.info("%s: %s is in place", places.dataset, dataset.name)


if __name__ == "__main__":
    cli.run(main)
