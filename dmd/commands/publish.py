"""`dmd publish`: the generator to the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from dmd.commands.arguments import ParamsFile


def publish(
    repository: Annotated[str, typer.Argument(help="On the Hub, as org/name.", show_default=False)],
    params: ParamsFile = Path("params.yaml"),
    private: Annotated[bool, typer.Option("--private", help="Make a repository that others do not see.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go; ask nothing.")] = False,
) -> None:
    """Publish the generator on the Hugging Face Hub.

    Its folder, its card and the pictures of the run go in one commit, to a repository that is made if it is not there.
    What goes must be what the last `report` describes, as dvc.lock says. The token is the one of `hf auth login` or
    $HF_TOKEN; $HF_ENDPOINT names another Hub.

    \b
    Reads   models/<system>/{generator,card} and metrics/<system>; all stages have run.
    Writes  one commit on the Hub.
    Example dmd publish org/name params.yaml --private --dry-run
    """
    from dmd.commands.arguments import require
    from dmd.commands.hub import check_name, commit_files
    from dmd.commands.publication import collect, size_of
    from dmd.commands.reported import check_reported
    from dmd.params.config import load_config
    from dmd.runtime.places import Places

    check_name(repository)
    places = Places(load_config(params).system)
    require(places.generator, "report")
    check_reported(params.with_name("dvc.yaml"), places)
    files = collect(places, repository)
    for name, content in files.items():
        typer.echo(f"{size_of(content):>12,}  {name}")
    visible = " (private)" if private else ""
    if dry_run:
        typer.echo(f"{len(files)} files would go to {repository}{visible} in one commit; nothing was sent")
        return
    address = commit_files(repository, files, private, f"Publish {places.system}, distilled to one step")
    typer.echo(f"{len(files)} files are in {repository}{visible}: {address}")
