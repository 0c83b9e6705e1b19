"""Plans of a decomposition: which convolutions of a network to replace, and by what."""

import dataclasses
import fnmatch
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jsep.compress.solve import rank_at_equal_cost
from jsep.costs.count import image_shape
from jsep.errors import UserError, typed
from jsep.files import write_atomically
from jsep.layers import BatchNorm, Conv
from jsep.layers.watch import Answer, path_of, watch
from jsep.models.factored import Factor, Kind
from jsep.ops.geometry import Padding, pair

Method = Literal["svd", "data", "comp", "als", "channel_svd", "channel", "spatial"]
KINDS: dict[str, Kind] = {"channel_svd": "channel", "channel": "channel", "spatial": "spatial"}  # the others: separable
FEW_INPUTS = 4  # input channels up to which a convolution is left as it is: colours have nothing to separate


@dataclasses.dataclass(frozen=True)
class Site:
    """A dense convolution of a network that can be decomposed.

    Attributes:
        path: where it lies in the network.
        norm: path of the batch norm that takes its output; empty where something else takes it.
        epsilon: the epsilon of that batch norm.
        kernel_size: height and width of the kernel.
        strides: strides along height and width.
        padding: padding, as the layer has it.
        channels: number of input channels.
        features: number of output channels.
        input_size: height and width of the input in pixels.
        output_size: height and width of the output in pixels.
        bias: whether it has a bias.
    """

    path: str
    norm: str
    epsilon: float
    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding
    channels: int
    features: int
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    bias: bool

    @property
    def taps(self) -> int:
        """Number of positions in the kernel."""
        return self.kernel_size[0] * self.kernel_size[1]

    def largest_rank(self, kind: Kind) -> int:
        """Return the number of features between the two convolutions of a kind at which the replacement is exact."""
        height, width = self.kernel_size
        before = self.channels * (height if kind == "spatial" else self.taps)
        return min(before, self.features * (width if kind == "spatial" else 1))


def find_sites(model: nn.Module, input_shape: Sequence[int]) -> list[Site]:
    """Find the convolutions of a network that can be decomposed.

    These are the dense convolutions without dilation that have a kernel larger than 1x1 and more than four input
    channels.

    Args:
        model: the network.
        input_shape: height, width and channels of an image.

    Returns:
        The convolutions in the order of evaluation.

    >>> [site.path for site in find_sites(create_model("resnet20", depth=8), (32, 32, 3))][:2]
    ['stage1_block1_conv1', 'stage1_block1_conv2']
    """
    sites: dict[str, Site] = {}
    outputs: list[tuple[str, Any]] = []

    def record(layer: nn.Module, call: Answer, *args: Any, **kwargs: Any) -> Any:
        y, path = call(*args, **kwargs), path_of(layer)
        if isinstance(layer, BatchNorm):
            for conv, output in outputs:
                if output is args[0]:
                    sites[conv] = dataclasses.replace(sites[conv], norm=path, epsilon=layer.epsilon)
        if not isinstance(layer, Conv) or layer.groups > 1 or pair(layer.dilation) != (1, 1):
            return y
        kernel, channels = pair(layer.kernel_size), args[0].shape[-1]
        if kernel != (1, 1) and channels > FEW_INPUTS:
            sizes = args[0].shape[1:3], y.shape[1:3]
            facts = (kernel, pair(layer.strides), layer.padding, channels, layer.features, *sizes, layer.use_bias)
            sites[path] = Site(path, "", 0.0, *facts)
            outputs.append((path, y))
        return y

    def evaluate(x: jax.Array) -> Any:
        with watch(record, BatchNorm, Conv):
            return model.init(jax.random.key(0), x)

    jax.eval_shape(evaluate, jax.ShapeDtypeStruct((1, *image_shape(input_shape)), jnp.float32))
    return list(sites.values())


@typed
def make_plan(sites: Sequence[Site], method: Method, layers: Sequence[str] = ("*",)) -> list[Factor]:
    """Plan a replacement for each convolution whose path matches a wildcard.

    Every method gets the multiply-accumulates of the separable convolution, so that methods compare at equal cost.

    Args:
        sites: the convolutions, from `find_sites`.
        method: how layers are fitted; it determines the kind of the replacement.
        layers: wildcards of paths, such as stage[12]_*.

    Returns:
        The replacements in the order of evaluation.

    Raises:
        UserError: a wildcard matches nothing, or nothing can be replaced.
    """
    if not sites:
        raise UserError("The network has no dense convolution to decompose: choose another network")
    for pattern in layers:
        if not any(fnmatch.fnmatchcase(site.path, pattern) for site in sites):
            known = ", ".join(site.path for site in sites)
            raise UserError(f"`layers`={pattern} matches no convolution that can be decomposed; there are: {known}")
    kind = KINDS.get(method, "separable")
    chosen = [site for site in sites if any(fnmatch.fnmatchcase(site.path, pattern) for pattern in layers)]
    if kind == "spatial":  # a kernel of one row or one column cannot be cut further
        chosen = [site for site in chosen if min(site.kernel_size) > 1]
    if not chosen:
        raise UserError("None of the convolutions can be decomposed by rows and columns: choose another `method`")
    ranks = (
        rank_at_equal_cost(kind, site.channels, site.taps, site.features, site.kernel_size)
        if kind != "separable"
        else 0
        for site in chosen
    )
    return [Factor(site.path, kind, rank, not site.norm) for site, rank in zip(chosen, ranks, strict=True)]


def save_plan(plan: Sequence[Factor], path: Path) -> None:
    """Write a plan as a JSON list, one replacement per line, to be edited by hand.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        write_atomically(path, json.dumps([str(factor) for factor in plan], indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): choose another `write_plan`") from error


def load_plan(path: Path, sites: Sequence[Site]) -> list[Factor]:
    """Read a plan that `save_plan` wrote and somebody may have edited.

    Args:
        path: the file.
        sites: the convolutions of the network, from `find_sites`.

    Returns:
        The replacements in the order of evaluation.

    Raises:
        UserError: the file cannot be read, or a replacement does not fit the network.
    """
    try:
        texts = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a plan ({error}): make one with `write_plan`") from error
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{path} is not a plan: it must hold a list of replacements, such as conv1=separable")
    factors = {factor.path: factor for factor in map(Factor.parse, texts)}
    paths = [site.path for site in sites]
    for unknown in factors:
        if unknown not in paths:
            raise UserError(f"{path}: there is no convolution {unknown!r} to decompose; there are: {', '.join(paths)}")
    by_path = {site.path: site for site in sites}
    for name, factor in factors.items():
        if factor.kind == "dense":
            raise UserError(f"{path}: {factor} replaces nothing: delete the line")
        most = by_path[name].largest_rank(factor.kind)
        if factor.rank > most:
            raise UserError(f"{path}: {factor} has too many features: give at most {most}")
    return [dataclasses.replace(factors[p], bias=not by_path[p].norm) for p in paths if p in factors]
