"""The configuration of a run as config.json: flat, with the names of the flags."""

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any

from jsep.errors import UserError, nearest
from jsep.files import write_atomically
from jsep.models import format_options, parse_options
from jsep.models.earlier_options import modern_options
from jsep.train import RunConfig

FORMAT = 2  # version of config.json; in files without one, options of networks have older names


def save_config(config: RunConfig, path: Path) -> None:
    """Write a configuration as JSON, replacing the whole file at once."""
    values = {**flat_fields(config), "options": format_options(config.options).split(), "format": FORMAT}
    write_atomically(path, json.dumps(values, indent=2, default=str) + "\n")


def load_config(path: Path) -> RunConfig:
    """Read a config.json of this or an earlier version of jsep.

    Raises:
        UserError: the file is not JSON, or has a field that this version does not know.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error})") from error
    written = values.pop("format", 1)
    for key in values:
        if key not in (known := flat_fields(RunConfig())):
            raise UserError(f"{path} has a field {key!r} that this jsep does not know; {nearest(key, known)}")
    try:
        options = parse_options(values.pop("options", ()))
        values["options"] = options if written == FORMAT else modern_options(values["model"], options)
        return replace_fields(RunConfig(), values)
    except (TypeError, KeyError) as error:
        raise UserError(f"{path} holds a value of the wrong type ({error})") from error


def flat_fields(value: Any, own: str = "") -> dict[str, Any]:
    """Return the fields of nested dataclasses in one dictionary, by the names of flags and of config.json.

    A field `name` goes by the name of the field that holds its dataclass: `optimizer.name` becomes "optimizer".

    >>> fields = flat_fields(RunConfig())
    >>> fields["model"], fields["optimizer"], fields["lr"]
    ('separable_cnn', 'adam', 0.001)
    """
    found: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        part = getattr(value, field.name)
        if dataclasses.is_dataclass(part):
            found |= flat_fields(part, field.name)
        else:
            found[own if field.name == "name" else field.name] = part
    return found


def replace_fields(value: Any, changes: typing.Mapping[str, Any], own: str = "") -> Any:
    """Return nested dataclasses with some of their fields replaced, by the names that `flat_fields` gives them.

    >>> replace_fields(RunConfig(), {"optimizer": "sgd", "lr": 0.1}).recipe.optimizer.name
    'sgd'
    """
    hints = typing.get_type_hints(type(value))
    new: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        part, key = getattr(value, field.name), own if field.name == "name" else field.name
        if dataclasses.is_dataclass(part):
            new[field.name] = replace_fields(part, changes, field.name)
        elif key in changes:
            new[field.name] = _typed(changes[key], hints[field.name])
    return dataclasses.replace(value, **new)


def _typed(value: Any, hint: Any) -> Any:
    """Convert a value from JSON, which has neither tuples nor paths, to the type of its field."""
    if isinstance(value, list):
        return tuple(value)
    if value is not None and isinstance(hint, types.UnionType) and Path in hint.__args__:
        return Path(value)
    return value
