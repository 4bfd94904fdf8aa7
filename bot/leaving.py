"""The end of the process, where threads may still be at work inside of libraries."""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """End with this status, when all that has to be closed is.

    A device in a step that outlasted the grace, a model being read or compiled: Python would unwind such a thread where
    it next wants the interpreter, which C++ takes for a crash ("terminate called without an active exception"), and the
    process would end with 134. So with threads left behind that nobody waits for it ends at once.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # whoever read it is gone
            stream.flush()
    if any(thread.daemon and thread.is_alive() for thread in threading.enumerate()):
        os._exit(status)
    sys.exit(status)
