"""The noise of the page that draws in the browser, in headless Chromium: its bits, its distribution, its walk."""

import math
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from selenium import webdriver

from dmd.commands.file_server import FileServer

PAGE = Path(__file__).resolve().parents[2] / "dmd" / "commands" / "demo_page"


@pytest.fixture(scope="module")
def page(browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """A page beside the module: its text."""
    with FileServer(PAGE, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.get(f"{server.address}noise.js")
        yield browser
        server.shutdown()


def module(browser: webdriver.Chrome, expression: str) -> Any:
    """The value of an expression in which `m` is the module."""
    code = f"import('./noise.js').then(m => done({expression})).catch(error => done(String(error)))"
    return browser.execute_async_script(f"const done = arguments[0]; {code}")


def test_the_bits_are_philox(page: webdriver.Chrome) -> None:
    """Known answers of the authors' Random123, `kat_vectors`."""
    ones = ",".join(["0xffffffff"] * 4)
    pi = "[0x243f6a88,0x85a308d3,0x13198a2e,0x03707344],[0xa4093822,0x299f31d0]"
    found = [module(page, f"m.philox({key})") for key in ("[0,0,0,0],[0,0]", f"[{ones}],[0xffffffff,0xffffffff]", pi)]
    assert found == [
        [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ]


def test_the_logarithm_is_that_of_the_standard_library(page: webdriver.Chrome) -> None:
    draw = random.Random(0)
    values = [draw.random() ** 4 for _ in range(200)] + [1.0, 2.0**-40]
    found = module(page, f"{values}.map(m.logarithm)")
    assert found == pytest.approx([math.log(value) for value in values], rel=1e-14, abs=1e-15)


def test_the_noise_is_normal_and_its_own_for_each_seed_and_stream(page: webdriver.Chrome) -> None:
    keys = ("1, 0", "1, 1", "2, 0")
    draws = [np.array(module(page, f"[...m.drawNoise({key}, 20001)]")) for key in keys]
    assert all(stats.kstest(draw, "norm").pvalue > 1e-3 for draw in draws)
    assert np.abs(np.corrcoef([*draws, np.roll(draws[0], 1)]) - np.eye(4)).max() < 0.03


def test_the_walk_is_on_the_great_circle(page: webdriver.Chrome) -> None:
    """Equal angles for equal shares, and the length of a unit vector."""
    found = module(page, "[0, 0.25, 0.5, 1].map(share => m.between([1, 0], [0, 1], share))")
    angles = np.array([0, 0.25, 0.5, 1]) * np.pi / 2
    np.testing.assert_allclose(found, np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=1e-12)
