"""Ctrl-C, which may come at any moment and is obeyed between two steps, when the state is consistent."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def ctrl_c() -> Iterator[Callable[[], bool]]:
    """Catch Ctrl-C while the context lasts.

    Yields:
        A function that returns whether Ctrl-C was pressed. A second Ctrl-C raises KeyboardInterrupt.
    """
    asked = threading.Event()

    def note(*_: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():  # only that one receives signals
        yield asked.is_set
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
