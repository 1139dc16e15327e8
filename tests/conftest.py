"""What every test may count on."""

import gc
import signal
from collections.abc import Iterator, Sequence

import pytest
import structlog
from hypothesis import settings

# How long an example takes is not what these tests are about; the machine may be busy.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

# Started in the background by a shell, a process ignores Ctrl-C and so do its children; tests send it on purpose.
signal.signal(signal.SIGINT, signal.default_int_handler)

LONG_S = 300  # for tests that try very many things


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Give the long tests the time they need; all others have that of the configuration."""
    for item in items:
        if item.get_closest_marker("serial") or "property" in item.path.parts:
            item.add_marker(pytest.mark.timeout(LONG_S))


def pytest_collection_finish() -> None:
    """Let no test pay for the thousands that were collected, whenever it looks for garbage or Python does."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Leave logging to the next test as it was found; commands set it up for their process."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
