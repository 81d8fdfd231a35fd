"""What all tests have in common."""

import atexit
import gc
import signal

import pytest
from hypothesis import settings

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
