"""Flags: reading the values that commands take from the command line."""

import contextlib
import io
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from jsep.errors import UserError
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


def parse(shape: type[T] | Callable[..., T], command: str, argv: Sequence[str], **more: Any) -> T:
    """Read the flags of a command.

    Args:
        shape: a dataclass to fill in or a function to call. Its fields or parameters are the flags.
        command: name of the command.
        argv: the words after it.
        **more: further arguments of `tyro.cli`, such as a default.

    Returns:
        The dataclass, or what the function returns.

    Raises:
        UserError: a value is refused by its dataclass or function.
        SystemExit: --help was typed, or there is an unknown flag or an unreadable value.
    """
    said = io.StringIO()
    # a function runs inside `tyro.cli`, and what it prints must not be held back
    quiet = contextlib.redirect_stderr(said) if isinstance(shape, type) else contextlib.nullcontext()
    try:
        with _registry, quiet:
            return tyro.cli(shape, prog=f"jsep {command}", args=argv, **more)
    except SystemExit as stop:
        if error := _user_error(stop):
            raise error from None
        print(said.getvalue(), end="", file=sys.stderr)
        raise


def _user_error(error: BaseException | None) -> UserError | None:
    """Return the `UserError` behind an error of tyro, which catches every ValueError; None if there is none."""
    while error and not isinstance(error, UserError):
        error = error.__context__
    return error


def given(**values: Any) -> dict[str, Any]:
    """Return the values that were typed, that is, are not None."""
    return {name: value for name, value in values.items() if value is not None}
