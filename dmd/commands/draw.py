"""`dmd draw`: images of a generator, a teacher or a saved pipeline."""

from pathlib import Path
from typing import Annotated

import typer


def draw(
    source: Annotated[
        Path, typer.Argument(help="A folder of a model, or a params file for its system's.", show_default=False)
    ],
    target: Annotated[Path, typer.Argument(help="A grid, as x.png, or a folder for single files.", show_default=False)],
    labels: Annotated[str | None, typer.Option(help="Classes, with commas, in turn; else all.")] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="Of a generator of text, in turn; give several.")] = None,
    count: Annotated[int, typer.Option(help="Images.", min=1)] = 20,
    seed: Annotated[int | None, typer.Option(help="Of the noise; that of the params, else 0.", min=0)] = None,
    teacher: Annotated[bool, typer.Option("--teacher", help="Of a params file: draw from the teacher.")] = False,
    solver: Annotated[str | None, typer.Option(help="Of a teacher; that of the params, else unipc.")] = None,
    steps: Annotated[int | None, typer.Option(help="Of a teacher's solver; those of the params, else 20.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Of a teacher; that of the params, else 1.0.")] = None,
    columns: Annotated[int | None, typer.Option(help="Of a grid; a class each, at most 10.", min=1)] = None,
    batch_size: Annotated[int, typer.Option(help="Images a network call; changes speed alone.", min=1)] = 64,
) -> None:
    """Draw images, and say what one costs.

    A folder is a generator's, a teacher's, or a diffusers pipeline's of many steps. With a params file and its seed,
    the images are the first that `evaluate` scored. A folder of a teacher cannot tell a null class from the others.

    \b
    Reads   the folder, or models/<system>/generator, or with --teacher models/<system>/teacher.
    Writes  the PNG, or the folder's 00000.png …, with classes 00000-class-7.png …; network calls and seconds an image.
            With prompts, 00000-prompt-0.png is of the first.
    Example dmd draw params.yaml digits.png --labels 3,7 --count 40
    """
    from dmd.commands.arguments import read_numbers
    from dmd.commands.drawings import draw_images, write_images
    from dmd.commands.sources import Wishes, load_source

    if target.suffix not in ("", ".png"):
        raise typer.BadParameter(f"target {str(target)!r}: a file ends in .png; a folder has no ending")
    classes = None if labels is None else read_numbers(labels, "--labels")
    found = load_source(source, Wishes(teacher, solver, steps, guidance, tuple(prompt or ())))
    drawn = draw_images(found, found.choose(classes), count, found.seed if seed is None else seed, batch_size)
    write_images(target, drawn.images, drawn.labels, columns, found.labelled)
    calls = f"{found.calls} network call{'s' if found.calls > 1 else ''}"
    typer.echo(f"{target}: {count} of {found.title}; {calls} and {drawn.seconds:.3g} s an image on {drawn.device}")
