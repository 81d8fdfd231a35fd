"""What all tests have in common."""

import atexit
import gc
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.fixtures.chromium import Chromium

settings.register_profile("patient", deadline=None)  # a busy machine is no reason to fail
settings.load_profile("patient")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell; what we start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A worker holds 9,000 tests and all that they import: to look through them took a tenth of its time.
gc.set_threshold(100_000, 50, 50)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Take what was collected out of the collector's sight: it stays until the end, and is not taken apart there."""
    gc.freeze()
    atexit.register(gc.freeze)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Chromium"]:
    """A real browser, one for all tests of a process; `await browser.fresh()` has it as new."""
    from tests.fixtures.chromium import BINARY, DRIVER, chromium

    if not (BINARY.exists() and DRIVER.exists()):
        pytest.skip("no browser here to see the pages with (Debian: apt install chromium chromium-driver)")
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running
