"""What is published of a system: the generator's files, the run's pictures, and the card that shows them."""

from pathlib import Path

from dvc.repo import Repo

from dmd.runtime.places import Places

Content = Path | bytes
"""A file, or what is to be one."""

CARD = "README.md"

SAMPLES = {
    "samples_teacher.png": "the teacher",
    "samples_before.png": "one call of it, before",
    "samples_student.png": "one call of the generator",
}
"""The pictures of the same noises, side by side in the card."""

OTHERS = {"history.png": "Fixed noises as the training went on.", "losses.png": "The losses."}
"""Pictures below them."""


def collect(places: Places, repository: str) -> dict[str, Content]:
    """Everything that goes, by its name on the Hub: of the generator's folder what DVC sees, with the card in it."""
    generator = places.generator
    with Repo() as repo:
        paths = sorted(map(Path, repo.dvcignore.find(repo.fs, generator.as_posix())))
    files: dict[str, Content] = {path.relative_to(generator).as_posix(): path for path in paths}
    files[CARD] = published_card(places.card.read_text(encoding="utf-8"), generator.as_posix(), repository).encode()
    return files | {f"pictures/{name}": places.metrics / name for name in (*SAMPLES, *OTHERS)}


def published_card(card: str, folder: str, repository: str) -> str:
    """The report's card with the address on the Hub in place of the `folder`, and with pictures."""
    row = " | ".join(f"![{caption}](pictures/{name})" for name, caption in SAMPLES.items())
    table = f"| {' | '.join(SAMPLES.values())} |\n{'|---' * len(SAMPLES)}|\n| {row} |"
    more = "\n\n".join(f"{caption}\n\n![{caption}](pictures/{name})" for name, caption in OTHERS.items())
    moved = card.replace(f'"{folder}"', f'"{repository}"').rstrip("\n")
    return f"{moved}\n\n## Pictures\n\nThe same noises in all three:\n\n{table}\n\n{more}\n"


def size_of(content: Content) -> int:
    """Bytes."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size
