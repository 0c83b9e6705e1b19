"""The configuration of a run as config.json: flat, with the names of the flags."""

import dataclasses
import json
import shlex
import types
import typing
from pathlib import Path
from typing import Any

from jsep.errors import UserError, first_line, nearest
from jsep.files import write_atomically
from jsep.models import create_model, format_options, parse_options
from jsep.models.earlier_options import modern_options
from jsep.models.factored import factored
from jsep.train import RunConfig

_IN_COLUMNS = {"model", "options", "data", "epochs", "batch_size", "seed", "devices"}  # of results.csv
_WITHOUT_EFFECT = {"data_dir", "workers", "keep", "wandb"}  # on the network that is trained

FORMAT = 2  # version of config.json; in files without one, options of networks have older names


def save_config(config: RunConfig, path: Path) -> None:
    """Write a configuration as JSON, replacing the whole file at once."""
    values = {**flat_fields(config), "options": format_options(config.options).split(), "format": FORMAT}
    write_atomically(path, json.dumps(values, indent=2, default=str) + "\n")


def load_config(path: Path) -> RunConfig:
    """Read a config.json of this or an earlier version of jsep.

    Somebody may have edited it: every value is checked as it would be on the command line.

    Raises:
        UserError: the file is not JSON, has a field that this version does not know, or holds a value that is not
            allowed.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({first_line(error)}): restore it from a copy") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold an object with the fields of a run, not a {type(values).__name__}")
    written = values.pop("format", 1)
    if written not in (1, FORMAT):
        raise UserError(f"{path} has the format {written!r}, where this jsep reads up to {FORMAT}: install a newer one")
    items = values.pop("options", [])
    try:
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise UserError(f'`options`={items}: it must be a list of strings such as "width=0.25"')
        config, options = replace_fields(RunConfig(), values), parse_options(items)
        if written != FORMAT:
            options = modern_options(config.model, options)
        factored(create_model(config.model, **options), config.factored)  # checks the names and the options
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (KeyError, TypeError) as error:  # an older option with a value that it never had
        raise UserError(f"{path}: `options`={' '.join(items)}: one of them has no meaning here ({error})") from error
    return dataclasses.replace(config, options=options)


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


def recipe_flags(config: RunConfig) -> str:
    """Return the flags of a run that are not those of every run by default, but for what its row of results.csv holds.

    Rows with the same flags, data set, epochs and batch size were trained alike.

    >>> recipe_flags(RunConfig(recipe=replace_fields(RunConfig().recipe, {"flip": True, "lr": 0.1, "epochs": 3})))
    '--flip --lr 0.1'
    """
    usual, words = flat_fields(RunConfig()), []
    for name, value in flat_fields(config).items():
        flag = name.replace("_", "-")
        if name in _IN_COLUMNS | _WITHOUT_EFFECT or value == usual[name]:
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def replace_fields(value: Any, changes: typing.Mapping[str, Any]) -> Any:
    """Return nested dataclasses with some of their fields replaced, by the names that `flat_fields` gives them.

    Lists become tuples and strings become paths where a field asks for them, since JSON has neither.

    >>> replace_fields(RunConfig(), {"optimizer": "sgd", "lr": 0.1}).recipe.optimizer.name
    'sgd'

    Raises:
        UserError: there is no such field, or its value is not allowed.
    """
    known = flat_fields(value)
    for key in changes:
        if key not in known:
            raise UserError(f"There is no field {key!r}; {nearest(key, known)}")
    return _replaced(value, changes)


def _replaced(value: Any, changes: typing.Mapping[str, Any], own: str = "") -> Any:
    hints = typing.get_type_hints(type(value))
    new: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        part, key = getattr(value, field.name), own if field.name == "name" else field.name
        if dataclasses.is_dataclass(part):
            new[field.name] = _replaced(part, changes, field.name)
        elif key in changes:
            new[field.name] = _typed(changes[key], hints[field.name])
    return dataclasses.replace(value, **new)


def _typed(value: Any, hint: Any) -> Any:
    """Convert a value from JSON, which has neither tuples nor paths, to the type of its field."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and isinstance(hint, types.UnionType) and Path in hint.__args__:
        return Path(value)
    return value
