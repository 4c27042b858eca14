"""A browser for the tests of pages."""

import os
from collections.abc import Iterator

import pytest
from selenium import webdriver

from tools.chromium import find_chromium, open_chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    """Headless Chromium; without one the tests are skipped, or fail where DMD_REQUIRE_BROWSER is set."""
    try:
        find_chromium()
    except ValueError as error:
        if os.environ.get("DMD_REQUIRE_BROWSER"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    driver = open_chromium()
    yield driver
    driver.quit()
