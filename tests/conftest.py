"""What every test may count on."""

import signal

from hypothesis import settings

# How long an example takes is not what these tests are about; the machine may be busy.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

# Started in the background by a shell, a process ignores Ctrl-C and so do its children; tests send it on purpose.
signal.signal(signal.SIGINT, signal.default_int_handler)
