"""Flags: how the values that commands take are read from the command line."""

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
    """Options of a network: typed as NAME=VALUE, kept as a mapping."""
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
        shape: a dataclass to be filled in, or a function to be called, whose fields or parameters are the flags.
        command: the command's name.
        argv: the words behind it.
        **more: for `tyro.cli`, such as a default.

    Returns:
        The dataclass, or what the function returns.
    """
    said = io.StringIO()
    # a function runs inside, and what it says must not wait
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
    """The sentence of a value that refused itself, for which tyro, which catches any ValueError, has said its own."""
    while error and not isinstance(error, UserError):
        error = error.__context__
    return error


def given(**values: Any) -> dict[str, Any]:
    """Return the values that somebody typed, which are those that are not None."""
    return {name: value for name, value in values.items() if value is not None}
