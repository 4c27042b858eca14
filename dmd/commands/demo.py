"""`dmd demo`: a page that draws in the browser, as a static folder, and a file server for it."""

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Option(help="The page's folder.")]
FOLDER = Path("demo")


def build(
    system: Annotated[str, typer.Argument(help="The system, as `system` in its params.")] = "mnist-small",
    folder: Folder = FOLDER,
) -> None:
    """Write the page that draws in the browser.

    Student, teacher and the student before distillation draw from the same noise, by onnxruntime-web. The folder needs
    a file server and nothing else: `dmd demo serve`, or any static host.

    \b
    Reads   models/<system>/, written by the stages `teacher` and `distill`, and the system's params.
    Writes  the folder. onnxruntime-web comes to downloads/ the first time.
    Example dmd demo build mnist-small
    """
    from dmd.commands.arguments import require
    from dmd.commands.systems import find_config
    from dmd.models.latent_pipelines import refuse_latents
    from dmd.models.pipeline import load_generator
    from dmd.models.teacher import Teacher
    from dmd.runtime.places import Places

    try:
        from dmd.commands.demo_folder import build_folder
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed; `make setup` brings it") from error

    config, places = find_config(system), Places(system)
    teacher = Teacher.load(require(places.teacher, "teacher"))
    student = require(places.generator, "distill")
    refuse_latents(student)
    build_folder(config, teacher, load_generator(student), folder)
    typer.echo(f"{folder}: the page of {system}; `dmd demo serve` shows it, and any static host can")


def serve(
    folder: Folder = FOLDER,
    host: Annotated[str, typer.Option(help="0.0.0.0 for a phone in the same network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any that is free.", min=0, max=65535)] = 8000,
) -> None:
    """Serve the page that draws in the browser.

    \b
    Reads   the folder that `dmd demo build` wrote.
    Writes  nothing.
    Example dmd demo serve --port 8000
    """
    from dmd.commands.file_server import FileServer

    if not (folder / "index.html").is_file():
        raise ValueError(f"{folder} is no page; `dmd demo build` writes one")
    with FileServer(folder, host, port) as server:
        typer.echo(f"{server.address} shows {folder}; Ctrl+C ends it")
        server.serve_until_stopped()
