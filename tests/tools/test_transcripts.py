"""Transcripts in pages are what the commands print, and a command that fails leaves the page alone."""

import subprocess
from pathlib import Path

import pytest

from tools.transcripts import filled


def test_a_block_holds_the_command_and_what_it_prints(tmp_path: Path) -> None:
    (tmp_path / "numbers.txt").write_text("1\n2  \n3\n", encoding="utf-8")
    page = "Before.\n<!-- output: head -2 numbers.txt | tac -->\nold\n<!-- end -->\nAfter.\n"
    once = filled(page, tmp_path)
    block = "```console\n$ head -2 numbers.txt | tac\n2\n1\n```"
    assert once == f"Before.\n<!-- output: head -2 numbers.txt | tac -->\n\n{block}\n\n<!-- end -->\nAfter.\n"
    assert filled(once, tmp_path) == once


def test_a_command_that_fails_in_a_pipe_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        filled("<!-- output: cat missing.txt | head -1 -->\n<!-- end -->", tmp_path)
