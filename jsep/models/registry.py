"""Names of networks: what is known of each, and how it is built. Importing this needs neither JAX nor Flax."""

import ast
import dataclasses
import fnmatch
import importlib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Annotated, Any, Literal, NamedTuple

from jsep.errors import UserError, nearest, require, typed

if typing.TYPE_CHECKING:
    import flax.linen as nn

Certainty = Literal["certain", "third-party", "reconstructed"]
Task = Literal["classification", "detection", "segmentation"]


class Rule(NamedTuple):
    """Which numbers an option takes: the annotation of its field is `Annotated[int, Rule(...)]`, or with float.

    Attributes:
        sentence: the rule in words, behind "it must be".
        allows: the rule as a test.
    """

    sentence: str
    allows: Callable[[float], bool]


# the upper bounds stop slips of the keyboard before they fill the memory or take hours to trace
_COUNT = Rule("a whole number, at least 1 and at most 10,000", lambda value: 1 <= value <= 10_000)
_SIZE = Rule("a number greater than 0 and at most 100", lambda value: 0 < value <= 100)
_CLASSES = Rule("a whole number, at least 1 and at most 10,000,000", lambda value: 1 <= value <= 10_000_000)
Rate = Annotated[float, Rule("a number, at least 0 and less than 1", lambda value: 0 <= value < 1)]  # of dropout
Fraction = Annotated[float, Rule("a number greater than 0 and at most 1", lambda value: 0 < value <= 1)]
CountOrNone = Annotated[int, Rule("a whole number, 0 for none and at most 10,000", lambda value: 0 <= value <= 10_000)]


class Images(NamedTuple):
    """The images that a network was published for.

    Attributes:
        input_shape: height, width and channels.
        num_classes: number of classes.
        normalization: how pixels were normalized, see `jsep.data`.
    """

    input_shape: tuple[int, int, int]
    num_classes: int
    normalization: str


CIFAR10 = Images((32, 32, 3), 10, "cifar10")
CIFAR100 = Images((32, 32, 3), 100, "cifar100")
IMAGENET = Images((224, 224, 3), 1000, "imagenet")
COCO = Images((320, 320, 3), 91, "imagenet")  # classes by the numbers of COCO, with the background
VOC = Images((520, 520, 3), 21, "imagenet")  # Pascal VOC's classes and the background, as torchvision feeds them


class Fed(NamedTuple):
    """Mean and deviation that images were normalised by for published weights, for values from 0 to 1.

    Attributes:
        mean: mean of each channel.
        std: standard deviation of each channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


FED_IMAGENET = Fed((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FED_CAFFE = Fed((0.48235, 0.45882, 0.40784), (1 / 255,) * 3)  # from 0 to 255, less the mean
FED_UNIT = Fed((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # left as they are
FED_HALVES = Fed((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # from -1 to 1, as TensorFlow's networks take them


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """A registered network.

    Attributes:
        name: registered name.
        family: class of the network, or where it is: "module:Class".
        fixed: options of the family that the name fixes; a user may still set them.
        summary: one line.
        paper: source of the architecture.
        input_shape: height, width and channels of the images it was published for.
        num_classes: number of classes it was published for.
        normalization: how the pixels were normalized for the published network.
        certainty: whether the architecture is known from a primary source ("certain"), from somebody else's code
            ("third-party"), or was reconstructed from incomplete sources ("reconstructed").
        params: exact number of trainable parameters; None if it was not given, see `jsep.costs.count`.
        macs: exact number of multiply-accumulates for one image; None if it was not given.
        published: published figures of this very architecture, as their source prints them, by what they measure.
        references: PyTorch networks whose outputs ours are checked against, with the options that make ours equal.
        fed: what published weights were fed, by the package or repository that they come from, where that is known to
            differ from `normalization`.
        task: what the network does with images, which decides how it is fed, trained and measured.
    """

    name: str
    family: "str | type[nn.Module]"
    fixed: Mapping[str, Any]
    summary: str
    paper: str
    input_shape: tuple[int, int, int]
    num_classes: int
    normalization: str
    certainty: Certainty
    params: int | None
    macs: int | None
    published: Mapping[str, str]
    references: Mapping[str, Mapping[str, Any]]
    fed: Mapping[str, Fed]
    task: Task

    def network_class(self) -> "type[nn.Module]":
        """Return the class of the family; imports its module."""
        if not isinstance(self.family, str):
            return self.family
        module, _, name = self.family.partition(":")
        return getattr(importlib.import_module(module), name)

    @property
    def options(self) -> dict[str, Any]:
        """Types of the options that `create_model` takes for this name, besides `num_classes`, `dtype`, `axis_name`."""
        network = self.network_class()
        types = typing.get_type_hints(network, include_extras=True)
        return {f.name: types[f.name] for f in dataclasses.fields(network) if f.metadata.get("option")}


_registry: dict[str, ModelInfo] = {}


def option(default: object, needs: Mapping[str, Sequence[str]] | None = None) -> Any:
    """Declare a field of a network as an option that users set by name, with its default.

    Its annotation says which values are allowed: a Literal, bool, int (from 1 to 10,000), float (greater than 0 and at
    most 100), str, or a number with a `Rule` of its own.

    Args:
        default: its value where users do not set it.
        needs: values of other options without which it has no effect, such as {"conv": ("ksc", "wksc")}; setting it is
            refused with any others.
    """
    return dataclasses.field(default=default, metadata={"option": True, "needs": needs or {}})


def register(
    name: str,
    family: "str | type[nn.Module]",
    summary: str,
    *,
    paper: str,
    data: Images,
    certainty: Certainty,
    options: Mapping[str, Any] | None = None,
    params: int | None = None,
    macs: int | None = None,
    published: Mapping[str, str] | None = None,
    references: Mapping[str, Mapping[str, Any]] | None = None,
    fed: Mapping[str, Fed] | None = None,
    task: Task = "classification",
) -> None:
    """Register a network, so that every part of jsep knows its name.

    Args:
        name: the name.
        family: class of the network, see `jsep.models.network.Network`; or "module:Class", imported on demand.
        summary: one line for lists.
        paper: source of the architecture.
        data: images that it was published for, such as `CIFAR10`.
        certainty: how sure the architecture is, see `ModelInfo`.
        options: options of the family that the name fixes.
        params: exact number of trainable parameters; None to have it counted when it is shown.
        macs: exact number of multiply-accumulates for one image; None to have it counted when it is shown.
        published: published figures by what they measure.
        references: PyTorch networks that give the same outputs, with the options of ours that this takes.
        fed: what their published weights were fed, see `ModelInfo`.
        task: what the network does with images.

    Raises:
        ValueError: the name is taken.
    """
    if name in _registry:
        raise ValueError(f"model {name} is registered twice")
    _registry[name] = ModelInfo(
        name=name,
        family=family,
        fixed=options or {},
        summary=summary,
        paper=paper,
        **data._asdict(),
        certainty=certainty,
        params=params,
        macs=macs,
        published=published or {},
        references=references or {},
        fed=fed or {},
        task=task,
    )


@typed
def list_models(pattern: str = "*", task: Task | None = None) -> list[str]:
    """Return the registered names that match a shell wildcard, sorted.

    Args:
        pattern: the wildcard.
        task: return only networks for this task.

    >>> list_models("*separable*")
    ['keras_separable_cnn', 'separable_cnn']
    """
    names = fnmatch.filter(sorted(_registry), pattern)
    return [name for name in names if task in (None, _registry[name].task)]


@typed
def model_info(name: str) -> ModelInfo:
    """Return what is known of a registered network.

    >>> info = model_info("mobilenet_v1")
    >>> info.paper, info.input_shape, info.params, info.macs
    ('arXiv 1704.04861', (224, 224, 3), 4231976, 568740352)

    Raises:
        UserError: no network has this name; the message suggests the nearest ones.
    """
    if name not in _registry:
        raise UserError(f"There is no model {name!r}; {nearest(name, _registry)}")
    return _registry[name]


def create_model(name: str, *, num_classes: int | None = None, **options: object) -> "nn.Module":
    """Build the Linen module of a registered network.

    Args:
        name: see `list_models`.
        num_classes: number of logits, of a detector with the background; None for that of the published network.
        **options: options of the family, see `ModelInfo.options`; `dtype` (of the computation); `axis_name` (mapped
            axis whose devices share batch statistics).

    >>> model = create_model("separable_cnn", width=0.25)
    >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    >>> jax.jit(model.apply)(variables, jnp.ones((2, 32, 32, 3))).shape
    (2, 10)

    Raises:
        UserError: the name or an option is unknown, or a value is not allowed.
    """
    info = model_info(name)
    types = info.options
    known = {"dtype", "axis_name", *types}
    for key, value in options.items():
        if key not in known:
            raise UserError(f"{name} has no option {key!r}; {nearest(key, known)}")
        if key in types:
            _check_option(key, value, types[key])
    classes = info.num_classes if num_classes is None else num_classes
    require(_is_whole(classes) and _CLASSES.allows(classes), "num_classes", classes, _CLASSES.sentence)
    found = info.task != "detection" or classes > 1
    require(found, "num_classes", classes, "at least 2 for a detector, whose first class is the background")
    _check_dtype(options.get("dtype"))
    model = info.network_class()(num_classes=int(classes), **{**info.fixed, **options})
    for field in dataclasses.fields(model):
        for other, values in field.metadata.get("needs", {}).items() if field.name in options else ():
            if (held := getattr(model, other)) not in values:
                raise UserError(
                    f"option {field.name}={options[field.name]} has no effect on {name} with {other}={held}: "
                    f"choose {' or '.join(f'{other}={value}' for value in values)}"
                )
    return model


def parse_options(items: Sequence[str]) -> dict[str, Any]:
    """Parse options as typed on a command line. Values are Python literals, or else strings.

    >>> parse_options(["width=0.5", "act=relu6"])
    {'width': 0.5, 'act': 'relu6'}

    Raises:
        UserError: an item is not of the form name=value.
    """
    require(
        not isinstance(items, str) and isinstance(items, Iterable), "options", items, "a list of strings name=value"
    )
    pairs = {}
    for item in items:
        require(isinstance(item, str), "options", item, "a string name=value, such as width=0.25")
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise UserError(f"`options`={item}: write it as name=value, such as width=0.25")
        try:
            pairs[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # no literal, or too deep a one
            pairs[key] = value
    return pairs


def format_options(options: Mapping[str, object]) -> str:
    """Write options in one line: the inverse of `parse_options`.

    >>> format_options({"width": 0.5, "act": "relu6"})
    'width=0.5 act=relu6'
    """
    return " ".join(f"{key}={value}" for key, value in options.items())


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)  # NumPy's too, such as labels.max() + 1


def _check_option(key: str, value: Any, kind: Any) -> None:
    # options are not flags (--options width=0.25 sets one), so messages hold them without backticks
    number, *rules = typing.get_args(kind) if typing.get_origin(kind) is Annotated else (kind,)
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        allowed = any(type(value) is type(choice) and value == choice for choice in choices)
        what = " or ".join(map(str, choices))
    elif kind is bool:
        allowed, what = isinstance(value, bool), "True or False"
    elif kind is str:
        allowed, what = isinstance(value, str), "a string"
    elif number in (int, float):
        rule = rules[0] if rules else {int: _COUNT, float: _SIZE}[number]
        typed = _is_whole(value) or (number is float and isinstance(value, float))
        allowed, what = typed and rule.allows(value), rule.sentence
    else:
        return
    if not allowed:
        raise UserError(f"option {key}={value}: it must be {what}")


def _check_dtype(dtype: Any) -> None:
    import jax.numpy as jnp

    try:
        floating = dtype is None or jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        floating = False
    require(floating, "dtype", dtype, "a floating-point type such as bfloat16")
