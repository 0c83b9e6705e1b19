"""Ctrl-C, asked for at any moment and heeded between two steps, when the state is whole."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def ctrl_c() -> Iterator[Callable[[], bool]]:
    """While it lasts, a first Ctrl-C makes the function true; a second one is a KeyboardInterrupt."""
    asked = threading.Event()

    def note(*_: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():  # signals reach that one alone
        yield asked.is_set
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
