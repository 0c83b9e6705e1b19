"""Names to networks: one decorator, wildcards, and errors that name the nearest."""

import ast
import dataclasses
import fnmatch
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

import flax.linen as nn

from jsep.errors import UserError, nearest

# the only readable parts of both works on it are their abstracts
SHARING_PAPER = "Zhou, Chen, Zhang, Fang: Efficient Weighted Kernel Sharing CNNs (2018)"

Certainty = Literal["certain", "third-party", "reconstructed"]
Rate = Annotated[float, "at least 0 and less than 1"]  # of dropout
CountOrNone = Annotated[int, "a whole number, 0 for none"]

# what `register` needs to know of the data that a network was published for
CIFAR10: dict[str, typing.Any] = {"input_shape": (32, 32, 3), "num_classes": 10, "normalization": "cifar10"}
CIFAR100: dict[str, typing.Any] = {"input_shape": (32, 32, 3), "num_classes": 100, "normalization": "cifar100"}
IMAGENET: dict[str, typing.Any] = {"input_shape": (224, 224, 3), "num_classes": 1000, "normalization": "imagenet"}

_registry: dict[str, "ModelInfo"] = {}


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What is known of a registered name.

    input_shape: (height, width, channels) of one image. normalization: what the published network was fed.
    published: figures as their source prints them; of this very architecture, never of a look-alike.
    references: PyTorch networks that outputs are checked against, with the options that make ours equal to each.
    certainty: whether the architecture was read in a primary source, in a third party's code, or reconstructed.
    """

    name: str
    build: Callable[..., nn.Module]
    summary: str
    paper: str
    input_shape: tuple[int, int, int]
    num_classes: int
    normalization: str
    certainty: Certainty
    published: Mapping[str, str]
    references: Mapping[str, Mapping[str, typing.Any]]

    @property
    def options(self) -> dict[str, typing.Any]:
        """The options that `create_model` takes for this name beside num_classes, dtype and axis_name: their types."""
        module = typing.get_type_hints(self.build)["return"]
        types = typing.get_type_hints(module, include_extras=True)
        return {f.name: types[f.name] for f in dataclasses.fields(module) if f.metadata.get("option")}


def option(default: object) -> typing.Any:
    """A field of a network that a user may set by name."""
    return dataclasses.field(default=default, metadata={"option": True})


def register(
    *,
    paper: str,
    input_shape: tuple[int, int, int],
    num_classes: int,
    normalization: str,
    certainty: Certainty,
    published: Mapping[str, str] | None = None,
    references: Mapping[str, Mapping[str, typing.Any]] | None = None,
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Register a function named like the network, annotated with its module, that fills in what the name fixes."""

    def enter(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        name = build.__name__
        if name in _registry:
            raise ValueError(f"model {name} is registered twice")
        _registry[name] = ModelInfo(
            name=name,
            build=build,
            summary=(build.__doc__ or "").strip().splitlines()[0],
            paper=paper,
            input_shape=input_shape,
            num_classes=num_classes,
            normalization=normalization,
            certainty=certainty,
            published=published or {},
            references=references or {},
        )
        return build

    return enter


def errors(**figures: str) -> dict[str, str]:
    """Published errors by data set.

    >>> errors(C10="5.92", C10_augmented="4.51")
    {'C10 error, %': '5.92', 'C10 augmented error, %': '4.51'}
    """
    return {f"{name.replace('_', ' ')} error, %": figure for name, figure in figures.items()}


def list_models(pattern: str = "*") -> list[str]:
    """Registered names that match a shell wildcard, sorted.

    >>> list_models("*separable*")
    ['keras_separable_cnn', 'separable_cnn']
    """
    return fnmatch.filter(sorted(_registry), pattern)


def model_info(name: str) -> ModelInfo:
    """The registry's entry; an unknown name is a `UserError` that suggests the nearest."""
    if name not in _registry:
        raise UserError(f"There is no model {name!r}; {nearest(name, _registry)}")
    return _registry[name]


def parse_options(items: Sequence[str]) -> dict[str, typing.Any]:
    """Options as typed on a command line; values are Python literals, or else strings.

    >>> parse_options(["width=0.5", "act=relu6"])
    {'width': 0.5, 'act': 'relu6'}
    """
    pairs = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise UserError(f"--options {item}: write it as name=value, such as width=0.25")
        try:
            pairs[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            pairs[key] = value
    return pairs


def format_options(options: Mapping[str, object]) -> str:
    """The inverse of `parse_options`, as one line.

    >>> format_options({"width": 0.5, "act": "relu6"})
    'width=0.5 act=relu6'
    """
    return " ".join(f"{key}={value}" for key, value in options.items())


def _check_option(key: str, value: object, kind: typing.Any) -> None:
    if typing.get_origin(kind) is Literal:
        if value not in (choices := typing.get_args(kind)):
            raise UserError(f"option {key}={value}: it must be {' or '.join(map(str, choices))}")
    elif kind is bool and not isinstance(value, bool):
        raise UserError(f"option {key}={value}: it must be True or False")
    elif kind is int and not (isinstance(value, int) and value >= 1):
        raise UserError(f"option {key}={value}: it must be a whole number, at least 1")
    elif kind == CountOrNone and not (isinstance(value, int) and value >= 0):
        raise UserError(f"option {key}={value}: it must be {typing.get_args(CountOrNone)[1]}")
    elif kind == Rate and not (isinstance(value, int | float) and 0 <= value < 1):
        raise UserError(f"option {key}={value}: it must be {typing.get_args(Rate)[1]}")
    elif kind is float and not (isinstance(value, int | float) and value > 0):
        raise UserError(f"option {key}={value}: it must be a number greater than 0")


def create_model(name: str, *, num_classes: int | None = None, **options: object) -> nn.Module:
    """Build the Linen module of a registered name.

    Args:
        name: see `list_models`.
        num_classes: size of the logits; the published number unless said.
        **options: `dtype` (compute), `axis_name` (devices that share batch statistics) and the family's own.

    >>> model = create_model("separable_cnn", width=0.25)
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    >>> model.apply(variables, jnp.ones((2, 32, 32, 3))).shape
    (2, 10)
    """
    info = model_info(name)
    known = {"dtype", "axis_name", *info.options}
    for key, value in options.items():
        if key not in known:
            raise UserError(f"{name} has no option {key!r}; {nearest(key, known)}")
        if key in info.options:
            _check_option(key, value, info.options[key])
    classes = info.num_classes if num_classes is None else num_classes
    return info.build(num_classes=classes, **options)
