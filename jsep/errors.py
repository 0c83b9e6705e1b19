"""The exceptions whose messages are written for the person who reads them."""

import difflib
import re
from collections.abc import Iterable

_PARAMETER = re.compile(r"`([a-z][a-z0-9_]*)`(=(?=\S))?")


class UserError(ValueError):
    """Input that cannot work. The message is one sentence that ends with the remedy.

    Parameters stand between backticks, by their names in Python; the command line shows `with_flags` instead, and exits
    with code 2.
    """


def with_flags(message: str) -> str:
    """Return a message for somebody who typed flags: `name`=value becomes --name value.

    >>> with_flags("`batch_size`=0: it must be at least 1; lower `lr` instead")
    '--batch-size 0: it must be at least 1; lower --lr instead'
    """

    def flag(found: re.Match[str]) -> str:
        return f"--{found[1].replace('_', '-')}" + (" " if found[2] else "")

    return _PARAMETER.sub(flag, message)


def require(ok: bool, name: str, value: object, rule: str) -> None:
    """Refuse the value of a parameter that breaks a rule.

    >>> require(False, "epochs", 0, "at least 1")
    Traceback (most recent call last):
    jsep.errors.UserError: `epochs`=0: it must be at least 1
    """
    if not ok:
        raise UserError(f"`{name}`={value}: it must be {rule}")


class Interrupted(Exception):
    """Ctrl-C during a training; everything done so far is on disk."""


class Diverged(Exception):
    """The loss or the weights of a training are no longer numbers."""


def first_line(error: Exception) -> str:
    """Return the first line of a library's error message, to be quoted inside a sentence.

    >>> first_line(ValueError("no such key\\nat line 3")), first_line(ValueError())
    ('no such key', 'ValueError')
    """
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known names that `word` may have meant, as the tail of an error sentence.

    >>> nearest("regular_cn", ["regular_cnn", "both_cnn"])
    'did you mean regular_cnn?'
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(known)}"
