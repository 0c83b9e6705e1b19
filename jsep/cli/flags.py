"""Flags: reading the values that commands take from the command line."""

import contextlib
import functools
import io
import itertools
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo
from tyro.extras import subcommand_cli_from_dict

from jsep.errors import UserError
from jsep.files import local_path
from jsep.models import format_options, parse_options

T = TypeVar("T")
_registry = ConstructorRegistry()


@_registry.primitive_rule
def _options(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Tell tyro how to read a mapping, the options of a network: as words NAME=VALUE."""
    if typing.get_origin(info.type) is not Mapping and info.type is not Mapping:
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="[NAME=VALUE ...]",
        instance_from_str=parse_options,
        is_instance=lambda value: isinstance(value, Mapping),
        str_from_instance=lambda value: format_options(value).split(),
    )


@_registry.primitive_rule
def _path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Tell tyro how to read a path: a local one, whose ~ the shell leaves alone in --out=~/run."""
    if info.type not in (Path, Path | None):
        return None
    optional = info.type is not Path
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="{None}|PATH" if optional else "PATH",
        instance_from_str=lambda words: None if optional and words == ["None"] else local_path(words[0]),
        is_instance=lambda value: isinstance(value, Path) or (optional and value is None),
        str_from_instance=lambda value: [str(value)],
    )


def parse(
    shape: type[T] | Callable[..., T] | dict[str, Callable[..., T]], command: str, argv: Sequence[str], **more: Any
) -> T:
    """Read the flags of a command.

    Args:
        shape: a dataclass to fill in or a function to call. Its fields or parameters are the flags. A dictionary holds
            the functions of the subcommands.
        command: name of the command.
        argv: the words after it.
        **more: further arguments of `tyro.cli`, such as a default.

    Returns:
        The dataclass, or what the function returns.

    Raises:
        UserError: there is an unknown flag or an unreadable value, or a value is refused by its dataclass or function.
        SystemExit: --help was typed.
    """
    said = io.StringIO()
    called = not isinstance(shape, type)
    words: dict[str, Any] = {"prog": f"jsep {command}", "args": argv, **more}
    try:
        with _registry, contextlib.redirect_stderr(said):
            found: Any  # of a function, what calls it: it may print, so it is not called in here
            if isinstance(shape, dict):
                found = subcommand_cli_from_dict({name: _bound(one) for name, one in shape.items()}, **words)
            else:
                found = tyro.cli(_bound(shape) if called else shape, **words)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise _user_error(stop) or UserError(f"{_sentence(said.getvalue())}; see jsep {command} --help") from None
    return found() if called else found


def _bound(function: Callable[..., T]) -> Callable[..., Callable[[], T]]:
    """Return a function with the same parameters that only binds them."""

    @functools.wraps(function)
    def bind(*args: Any, **kwargs: Any) -> Callable[[], T]:
        return functools.partial(function, *args, **kwargs)

    return bind


def _sentence(box: str) -> str:
    """Return what tyro prints in a box about wrong flags as one line, without the help that it repeats.

    >>> _sentence("Value error\\n-----\\n Error parsing --lr:  \\n no number\\n -----\\n Help\\n")
    'Error parsing --lr: no number'
    """
    lines = (line.strip(" │") for line in box.splitlines()[1:])  # without the title
    lines = itertools.dropwhile(_is_rule, lines)
    told = " ".join(itertools.takewhile(lambda line: not _is_rule(line), lines)).rstrip(".")
    flags = re.findall(r"^[│ ]{5,6}(--[\w-]+)", box.partition("Perhaps you meant:")[2], re.MULTILINE)
    return f"{told} (did you mean {' or '.join(flags)}?)" if flags else told


def _is_rule(line: str) -> bool:
    return not line.strip("─-╰╯ ")


def _user_error(error: BaseException | None) -> UserError | None:
    """Return the `UserError` behind an error of tyro, which catches every ValueError; None if there is none."""
    while error and not isinstance(error, UserError):
        error = error.__context__
    return error


def given(**values: Any) -> dict[str, Any]:
    """Return the values that were typed, that is, are not None."""
    return {name: value for name, value in values.items() if value is not None}
