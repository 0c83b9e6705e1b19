"""The one exception whose message is written for the person at the keyboard."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Input that cannot work. The message is one sentence with the remedy; the CLI prints it and exits with 2."""


def first_line(error: Exception) -> str:
    """What a library's error says first, to stand inside a sentence of ours.

    >>> first_line(ValueError("no such key\\nat line 3")), first_line(ValueError())
    ('no such key', 'ValueError')
    """
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known names `word` may have meant, as the tail of an error sentence.

    >>> nearest("regular_cn", ["regular_cnn", "both_cnn"])
    'did you mean regular_cnn?'
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(known)}"
