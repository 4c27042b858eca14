"""The warm server, once for each file of tests."""

from collections.abc import Iterator

import pytest

from tests.survival.victims import Victims


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    server = Victims()
    yield server
    server.close()
