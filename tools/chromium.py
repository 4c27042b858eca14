"""Chromium without a window, driven by selenium."""

import shutil

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def find_chromium() -> str:
    """The path of the browser.

    Raises:
        ValueError: it or its driver is not installed; names the cure.
    """
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None or shutil.which("chromedriver") is None:
        raise ValueError("no chromium with chromedriver: `make browser` installs both from Debian's packages")
    return found


def open_chromium() -> webdriver.Chrome:
    """A browser that keeps its console and the log of its requests; `quit()` ends it."""
    options = webdriver.ChromeOptions()
    options.binary_location = find_chromium()
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, Service(shutil.which("chromedriver")))


def resize(browser: webdriver.Chrome, width: int, height: int, scheme: str) -> None:
    """Give the page that size in pixels, and readers who like it `light` or `dark`."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
