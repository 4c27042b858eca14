"""What `report` writes, opened in headless Chromium, narrow and wide, light and dark."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

from dmd.params.config import load_config
from stages import report
from tests.stages.made_up import write_system
from tools.chromium import resize

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = {"phone": 390, "desktop": 1280}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, browser: webdriver.Chrome) -> str:
    """The address of a page that the real stage wrote."""
    root = tmp_path_factory.mktemp("page")
    write_system(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        report.main(load_config(ROOT / "params.yaml"))
    return (root / "metrics" / "mnist-small" / "report.html").as_uri()


def show(browser: webdriver.Chrome, page: str, width: int, scheme: str) -> None:
    """Open the page anew, at a width, for readers of light or dark pages."""
    resize(browser, width, 900, scheme)
    browser.get(page)


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("L")).astype(float)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_the_page_is_whole_at_every_width_in_light_and_dark(
    browser: webdriver.Chrome, page: str, width: int, scheme: str
) -> None:
    show(browser, page, width, scheme)
    sizes = browser.execute_script("return [...document.images].map(image => image.complete && image.naturalWidth)")
    assert len(sizes) == 43
    assert min(sizes) > 0
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    drawn = "return [...document.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect().height)"
    assert min(browser.execute_script(drawn)) > 100
    shown = pixels(browser.get_screenshot_as_png())
    assert shown.shape == (900, width)
    assert shown.std() > 10
    assert (np.median(shown) > 200) == (scheme == "light")
    assert browser.get_log("browser") == []


def test_curves_are_legible_on_a_dark_page(browser: webdriver.Chrome, page: str) -> None:
    show(browser, page, 1280, "dark")
    words = "return getComputedStyle(document.querySelector('svg text')).fill"
    red, green, blue = (int(value) for value in browser.execute_script(words)[4:-1].split(","))
    assert min(red, green, blue) > 200


def test_the_slider_moves_the_picture(browser: webdriver.Chrome, page: str) -> None:
    show(browser, page, 1280, "light")
    slider = browser.find_element(By.CSS_SELECTOR, ".slider input")
    seen = []
    for value in (10, 3, 0):
        move = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        browser.execute_script(move, slider, value)
        shown = [item for item in browser.find_elements(By.CSS_SELECTOR, ".slider figure") if item.is_displayed()]
        assert len(shown) == 1
        assert f"after {4 * value} updates" in shown[0].text
        seen.append(pixels(shown[0].find_element(By.TAG_NAME, "img").screenshot_as_png))
    assert all(np.abs(one - other).mean() > 1 for i, one in enumerate(seen) for other in seen[:i])


def test_nothing_is_asked_of_the_network(browser: webdriver.Chrome, page: str) -> None:
    browser.get_log("performance")
    show(browser, page, 1280, "light")
    sent = [entry["message"] for entry in browser.get_log("performance") if 'requestWillBeSent"' in entry["message"]]
    assert sent
    assert not [message for message in sent if '"url":"http' in message]


def test_a_message_on_the_console_would_be_seen(browser: webdriver.Chrome, page: str) -> None:
    show(browser, page, 1280, "light")
    browser.execute_script("console.warn('seen')")
    assert ["seen" in entry["message"] for entry in browser.get_log("browser")] == [True]
