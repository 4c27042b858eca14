"""Where a system's files lie, from the repository's root: its folders in data/, models/ and metrics/."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """The folders of one system."""

    system: str
    """Its name, as `system` in its params says."""

    @property
    def data(self) -> Path:
        """Of everything but networks and what git keeps."""
        return Path("data", self.system)

    @property
    def models(self) -> Path:
        """Of teacher and generator."""
        return Path("models", self.system)

    @property
    def metrics(self) -> Path:
        """What git keeps of the last run; written by `report`."""
        return Path("metrics", self.system)

    @property
    def dataset(self) -> Path:
        """The real images; written by `fetch`."""
        return self.data / "dataset"

    def weights(self, of: str) -> Path:
        """Pretrained weights of the `teacher`, the `perceptual` distance or the `features`; written by `fetch`."""
        return self.data / "weights" / of

    @property
    def teacher(self) -> Path:
        """The many-step model, a diffusers folder; written by `teacher`."""
        return self.models / "teacher"

    @property
    def pairs(self) -> Path:
        """Shards and their manifest; written by `pairs`."""
        return self.data / "pairs"

    @property
    def generator(self) -> Path:
        """The one-step model, a diffusers pipeline folder; written by `distill`."""
        return self.models / "generator"

    @property
    def card(self) -> Path:
        """The generator's model card, which comes with the scores; written by `report`."""
        return self.models / "card" / "README.md"

    @property
    def training(self) -> Path:
        """Losses, health and history of the distillation; written by `distill`."""
        return self.data / "training"

    @property
    def evaluation(self) -> Path:
        """Scores and samples; written by `evaluate`."""
        return self.data / "evaluation"


WRITERS = {
    "dataset": "fetch",
    "weights": "fetch",
    "teacher": "teacher",
    "pairs": "pairs",
    "training": "distill",
    "generator": "distill",
    "evaluation": "evaluate",
    "card": "report",
}
"""The stage that writes each folder of data/<system>/ and models/<system>/."""


def writer_of(path: Path) -> str | None:
    """The stage that writes a file or folder of a system; None where none does."""
    parts = path.parts
    roots = [
        place for place, name in enumerate(parts[:-2]) if name in ("data", "models") and parts[place + 2] in WRITERS
    ]
    return WRITERS[parts[roots[-1] + 2]] if roots else None
