"""What every test may count on."""

import signal

# Started in the background by a shell, a process ignores Ctrl-C and so do its children; tests send it on purpose.
signal.signal(signal.SIGINT, signal.default_int_handler)
