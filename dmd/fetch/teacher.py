"""Where a teacher comes from: a local folder, the Hub, or nowhere, because it is trained or initialised here."""

import shutil
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from diffusers.utils import SAFETENSORS_WEIGHTS_NAME

from dmd.fetch.adm_checkpoint import import_checkpoint
from dmd.fetch.archived_teacher import archive_origin, import_archive
from dmd.fetch.diffusers_layout import DESCRIPTIONS, Layout, read_object, weights_beside
from dmd.fetch.distilled import refuse_distilled_name
from dmd.fetch.downloads import DownloadError
from dmd.fetch.hub import HUB_ID, snapshot
from dmd.fetch.pointers import refuse_pointer
from dmd.fetch.weights_folder import check_parts, check_provenance, make_folder, read_index, read_weights
from dmd.models import text
from dmd.models.codec import FOLDER
from dmd.params.teacher import MADE_HERE
from dmd.runtime.files import save_json, save_tensors
from dmd.runtime.work_folder import given


@dataclass(frozen=True)
class TeacherSource:
    """A teacher's files, described but not yet all there."""

    folder: Path
    """Its descriptions, in either layout."""
    layout: Layout
    origin: Mapping[str, Any]
    """`source`, and for the Hub `revision`, the commit: what provenance keeps."""
    bring: Callable[[str], Path]
    """Makes sure of one file of the folder, by its path there, and returns where it should be."""

    @property
    def configs(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The configs of model and scheduler."""
        return self.layout.describe(self.folder)

    @property
    def codec(self) -> dict[str, Any] | None:
        """The config of the codec; None for a model of pixels."""
        return self.layout.describe_codec(self.folder)

    @property
    def text(self) -> dict[str, Any] | None:
        """The config of the text encoder; None for a model that is told no prompts."""
        return self.layout.describe_text(self.folder)

    def weights(self, beside: str | None = None) -> list[Path]:
        """The network's weights, or those of the config `beside`, in one file or in the parts that an index names.

        Raises:
            DownloadError: the Hub did not serve them.
            ValueError: there are none, only a Git-LFS pointer to them, or the index is broken.
        """
        names = weights_beside(beside or self.layout.config)
        for name in names:
            path = self.bring(name)
            if not path.is_file():
                continue
            refuse_pointer(path)
            if path.suffix != ".json":
                return [path]
            parts = [self.bring(PurePosixPath(name).with_name(part).as_posix()) for part in read_index(path)]
            for part in filter(Path.is_file, parts):
                refuse_pointer(part)
            return parts
        raise ValueError(f"teacher.source: {self.folder} holds no {names[0]} (or .bin); name another model")


def find_teacher(source: str, revision: str | None, downloads: Path, timeout: float) -> TeacherSource | None:
    """What `teacher.source` names; of a model on the Hub only the descriptions are downloaded.

    Args:
        source: a local folder, a file of tensors with ADM's names, a hub id `org/name` or `org/name@commit`, the
            address of a published archive, `train` or `random`.
        revision: the commit of a hub id, where the id names none; None takes the newest.
        downloads: the folder of downloads; `hub/<org>--<name>/<revision>` in it is used without the network.
        timeout: seconds that the hub may stay silent.

    Returns:
        The source; None where the teacher is made here.

    Raises:
        ValueError: neither a folder nor a hub id, two different commits, the commit of a folder, or no model that is
            understood.
        DownloadError: the hub did not serve it; names the folder to put it into by hand.
    """
    if source in MADE_HERE:
        return None
    if given(Path(source)).exists():
        return _on_disk(given(Path(source)), source, revision, downloads)
    if "://" in source:
        return _local(import_archive(source, downloads, timeout), {"source": source, **archive_origin(source)})
    source, revision = _hub_id(source, revision)
    refuse_distilled_name(source)
    by_hand = downloads / "hub" / source.replace("/", "--") / (revision or "main")
    if by_hand.is_dir():
        return _local(by_hand, {"source": source, "revision": revision or "main"})
    try:
        folder = snapshot(source, revision, DESCRIPTIONS, timeout)
    except DownloadError as error:
        raise DownloadError(f"{error}\nOr put the model's files by hand into {by_hand.absolute()}") from error

    def bring(name: str) -> Path:
        return snapshot(source, folder.name, [name], timeout) / name

    return TeacherSource(folder, Layout.find(folder), {"source": source, "revision": folder.name}, bring)


def place_teacher(teacher: TeacherSource | None, folder: Path, prompts: Path | None = None) -> None:
    """Write a teacher's files flat: configs, weights as safetensors and `origin.json`; none when it is made here.

    Of a model of latents, `codec/` has the autoencoder's; of one that is told prompts, `text_encoder/` and `tokenizer/`
    have what reads them, and `prompts.csv` is the file `prompts`.

    Raises:
        ValueError: the provenance beside it names another hash, a file is cut, or a pickle holds more than tensors.
    """

    def fill(part: Path) -> None:
        if teacher is None:
            return
        weights, origin = teacher.weights(), dict(teacher.origin)
        if len(weights) > 1:
            origin["sha256_of_parts"] = check_parts(teacher.folder, weights)
        _place_weights(weights, part)
        for name in (teacher.layout.config, teacher.layout.scheduler_config, "provenance.json"):
            if (teacher.folder / name).is_file():
                shutil.copyfile(teacher.folder / name, part / Path(name).name)
        config, _ = teacher.configs
        if config != read_object(part / "config.json"):  # its class has another name today
            save_json(part / "config.json", config)
        if teacher.layout.codec_config is not None:
            (part / FOLDER).mkdir()
            shutil.copyfile(teacher.folder / teacher.layout.codec_config, part / FOLDER / "config.json")
            _place_weights(teacher.weights(teacher.layout.codec_config), part / FOLDER)
        if teacher.layout.text_config is not None:
            _place_text(teacher, part)
        if prompts is not None:
            shutil.copyfile(prompts, part / text.TEXTS)
        check_provenance(part, required=False)
        save_json(part / "origin.json", origin)

    make_folder(folder, fill)


def _place_weights(weights: Sequence[Path], folder: Path) -> None:
    """Write weights as one file of safetensors."""
    tensors = dict(ChainMap(*map(read_weights, weights)))
    if len(weights) > 1 or weights[0].suffix == ".bin":
        save_tensors(folder / SAFETENSORS_WEIGHTS_NAME, tensors)
    else:
        shutil.copyfile(weights[0], folder / SAFETENSORS_WEIGHTS_NAME)


def _place_text(teacher: TeacherSource, folder: Path) -> None:
    """Write the encoder's config and weights, and the tokenizer's files, whichever of them there are."""
    encoder, tokenizer = folder / text.ENCODER, folder / text.TOKENIZER
    encoder.mkdir()
    tokenizer.mkdir()
    shutil.copyfile(teacher.folder / f"{text.ENCODER}/config.json", encoder / "config.json")
    weights = teacher.weights(f"{text.ENCODER}/config.json")
    save_tensors(encoder / text.WEIGHTS, dict(ChainMap(*map(read_weights, weights))), {"format": "pt"})
    for name in text.TOKENIZER_FILES:
        path = teacher.bring(f"{text.TOKENIZER}/{name}")
        if path.is_file():
            refuse_pointer(path)
            shutil.copyfile(path, tokenizer / name)
    if not any((tokenizer / name).is_file() for name in text.VOCABULARIES):
        raise ValueError(
            f"teacher.source: {teacher.folder} holds no {text.TOKENIZER}/{text.VOCABULARIES[0]}; name another model"
        )


def _on_disk(path: Path, source: str, revision: str | None, downloads: Path) -> TeacherSource:
    """A folder, or a file of tensors, converted."""
    if revision is not None:
        kind = "folder" if path.is_dir() else "file"
        raise ValueError(f"teacher.revision {revision} is of a hub id, but {source} is a {kind}; set it to null")
    return _local(path if path.is_dir() else import_checkpoint(path, downloads), {"source": source})


def _local(folder: Path, origin: dict[str, str]) -> TeacherSource:
    return TeacherSource(folder, Layout.find(folder), origin, lambda name: folder / name)


def _hub_id(source: str, revision: str | None) -> tuple[str, str | None]:
    """`org/name` and the commit, which stands behind an `@` of the source or is `revision`."""
    name, _, commit = source.partition("@")
    if not HUB_ID.fullmatch(name):
        raise ValueError(
            f"teacher.source {source!r}: no such folder or file, and no hub id `org/name`; or take `train` or `random`"
        )
    if commit and revision not in (None, commit):
        raise ValueError(f"teacher.source names the commit {commit}, teacher.revision {revision}; set that to null")
    return name, commit or revision
