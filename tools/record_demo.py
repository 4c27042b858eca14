"""The moving picture of the README: the page that `dmd demo build` wrote, recorded in Chromium as it walks.

`python -m tools.record_demo [folder] [picture]`, or `make recording`.
"""

import io
import itertools
import threading
import time
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from dmd.commands.demo import FOLDER
from dmd.commands.file_server import FileServer
from stages.command.errors import short_errors
from tools.chromium import open_chromium, resize

SIZE = (560, 380)
LABELS = (3, 8, 5, 0)
SECONDS = 2.5
"""Of each label."""
LONGEST = 400
"""Milliseconds that a frame is shown; else as long as it was there."""
DRAWN = "return [...document.querySelectorAll('figure')].every(figure => figure.image)"


def frames(browser: webdriver.Chrome, address: str) -> tuple[list[Image.Image], list[int]]:
    """The top of the page on a walk, at one label after the other if there are any; and the milliseconds of each."""
    resize(browser, *SIZE, "light")
    browser.get(f"{address}#seed=7&label={LABELS[0]}")
    WebDriverWait(browser, 120).until(lambda _: browser.execute_script(DRAWN))
    browser.execute_script("document.querySelector('header').hidden = true")
    browser.execute_script("document.getElementById('walk').click()")  # selenium's own click would scroll there
    classes = browser.find_elements(By.CSS_SELECTOR, "#classes button")
    taken, moments = [], [time.monotonic()]
    for label in LABELS:
        if classes:
            browser.execute_script("arguments[0].click()", classes[label % len(classes)])
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            picture = Image.open(io.BytesIO(browser.get_screenshot_as_png()))
            taken.append(picture.convert("RGB"))
            moments.append(time.monotonic())
    return taken, [min(LONGEST, round(1000 * (after - before))) for before, after in itertools.pairwise(moments)]


def main(
    folder: Annotated[Path, typer.Argument(help="The page's folder.")] = FOLDER,
    picture: Annotated[Path, typer.Argument(help="The WebP to write.")] = Path("docs/demo.webp"),
) -> None:
    """Record the page that draws in the browser."""
    with short_errors(), FileServer(folder, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = open_chromium()
        try:
            (first, *others), durations = frames(browser, server.address)
        finally:
            browser.quit()
            server.shutdown()
        first.save(picture, save_all=True, append_images=others, duration=durations, loop=0, quality=70, method=6)
        typer.echo(f"{picture}: {1 + len(others)} frames, {picture.stat().st_size / 2**10:.0f} KiB")


if __name__ == "__main__":
    typer.run(main)
