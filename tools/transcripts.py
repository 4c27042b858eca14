"""Fill the transcripts of the pages in docs/results/ with what commands really print, so that no output is typed.

A block `<!-- output: COMMAND -->` … `<!-- end -->` holds the command and its output. Run it where the pipeline has run,
before its results are committed, so that there is a difference to show:

    python -m tools.transcripts
"""

import os
import re
import subprocess
from pathlib import Path

import typer

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"<!-- output: (?P<command>.+?) -->\n.*?<!-- end -->", re.DOTALL)


def transcript(command: str, folder: Path) -> str:
    """A shell command and what it prints to standard output in `folder`, as a block of Markdown.

    Raises:
        subprocess.CalledProcessError: the command, or one in its pipe, failed.
    """
    environment = os.environ | {"COLUMNS": "120", "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    lines = (line.rstrip() for line in done.stdout.strip("\n").splitlines())
    return "\n".join(["```console", f"$ {command}", *lines, "```"])


def filled(text: str, folder: Path) -> str:
    """The text with every block's command run anew in `folder`."""

    def block(match: re.Match[str]) -> str:
        command = match["command"]
        return f"<!-- output: {command} -->\n\n{transcript(command, folder)}\n\n<!-- end -->"

    return BLOCK.sub(block, text)


def main() -> None:
    """Run the commands of the pages in docs/results/ and write what they print."""
    for path in sorted(ROOT.glob("docs/results/*.md")):
        text = path.read_text(encoding="utf-8")
        if not BLOCK.search(text):
            continue
        path.write_text(filled(text, ROOT), encoding="utf-8")
        typer.echo(f"{path.relative_to(ROOT)}: {len(BLOCK.findall(text))} outputs")


if __name__ == "__main__":
    typer.run(main)
