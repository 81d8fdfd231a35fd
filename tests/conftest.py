"""What all tests have in common."""

import signal

from hypothesis import settings

settings.register_profile("patient", deadline=None)  # a busy machine is no reason to fail
settings.load_profile("patient")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell; what we start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
