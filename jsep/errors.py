"""The exceptions whose messages are written for the person who reads them."""

import dataclasses
import difflib
import functools
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

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


def require_types(value: Any) -> None:
    """Refuse a dataclass whose fields do not hold what their annotations say.

    A config.json and a caller in Python may put anything into a field. Whole numbers count as floats; NaN and infinity
    do not. A field `name`, such as that of `Optimizer`, goes by the name of its class, as it does among the flags.

    Args:
        value: an instance of a dataclass.

    Raises:
        UserError: a field holds a value of another type, or one that is not among its choices.
    """
    for name, hint in typing.get_type_hints(type(value)).items():
        held = getattr(value, name)
        shown = type(value).__name__.lower() if name == "name" else name
        require(_fits(held, hint), shown, repr(held), _described(hint))


def typed(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a public function so that it refuses arguments of other types than its annotations say.

    >>> @typed
    ... def double(number: int) -> int:
    ...     return 2 * number
    >>> double("2")
    Traceback (most recent call last):
    jsep.errors.UserError: `number`='2': it must be a whole number
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            parameter = signature.parameters[name]
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                require(_fits(value, parameter.annotation), name, repr(value), _described(parameter.annotation))
        return function(*args, **kwargs)

    return checked


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of a type. Types that have no rule here are not checked."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, choice) for choice in inner)
    if origin is Literal:
        return any(value is choice or (type(value) is type(choice) and value == choice) for choice in inner)
    if origin is tuple:
        kinds = [inner[0]] * len(value) if isinstance(value, tuple) and Ellipsis in inner else inner
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hint, type) and (hint in (bool, str, Path, type(None)) or dataclasses.is_dataclass(hint)):
        return isinstance(value, hint)
    return origin is not Mapping or isinstance(value, Mapping)


def _described(hint: Any) -> str:
    """Return what a field of a type may hold, as the end of an error sentence.

    >>> _described(tuple[int, ...] | None), _described(Literal["svd", "als"])
    ('a tuple of whole numbers or None', 'svd or als')
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_described, inner))
    if origin is Literal:
        *others, last = map(str, inner)
        return f"{', '.join(others)} or {last}" if others else last
    if origin is tuple:
        what = "whole numbers" if inner[0] is int else "numbers" if inner[0] is float else "strings"
        return f"a tuple of {what}" if Ellipsis in inner else f"{len(inner)} {what}"
    words = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a string", Path: "a path"}
    if hint in words:
        return words[hint]
    return "a mapping" if origin is Mapping else "None" if hint is type(None) else getattr(hint, "__name__", str(hint))


class NotWritten(Exception):
    """Files of a training that could not be written, as on a full disk; the message says what is saved."""


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


def counted(number: int, word: str) -> str:
    """Return a number of things as text.

    >>> counted(1, "file"), counted(2000, "file")
    ('1 file', '2,000 files')
    """
    return f"{number:,} {word}{'s' * (number != 1)}"
