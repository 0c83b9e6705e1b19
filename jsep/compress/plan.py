"""What is to be decomposed, and into what: found in any network, printed, edited, read back."""

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
from jsep.errors import UserError
from jsep.files import write_atomically
from jsep.layers import BatchNorm, Conv
from jsep.models.factored import Factor, Kind
from jsep.ops.geometry import Padding, pair

Method = Literal["svd", "data", "comp", "als", "channel_svd", "channel", "spatial"]
KINDS: dict[str, Kind] = {"channel_svd": "channel", "channel": "channel", "spatial": "spatial"}  # the rest: separable
FEW_INPUTS = 4  # channels up to which a convolution is left alone: colours have nothing to separate


@dataclasses.dataclass(frozen=True)
class Site:
    """A dense convolution of a network.

    norm: path of the batch norm that takes its output as it is, empty where something else does; epsilon: its own.
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
        return self.kernel_size[0] * self.kernel_size[1]

    def largest_rank(self, kind: Kind) -> int:
        """Features between the two convolutions of a kind, from which on nothing is lost."""
        height, width = self.kernel_size
        before = self.channels * (height if kind == "spatial" else self.taps)
        return min(before, self.features * (width if kind == "spatial" else 1))


def find_sites(model: nn.Module, input_shape: Sequence[int]) -> list[Site]:
    """Every dense convolution with a kernel above 1x1 and more input channels than colours, in order of evaluation."""
    sites: dict[str, Site] = {}
    outputs: list[tuple[str, Any]] = []

    def record(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        y, layer = call(*args, **kwargs), context.module
        path = "/".join(layer.path)
        if context.method_name != "__call__":
            return y
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
        with nn.intercept_methods(record):
            return model.init(jax.random.key(0), x)

    jax.eval_shape(evaluate, jax.ShapeDtypeStruct((1, *input_shape), jnp.float32))
    return list(sites.values())


def make_plan(sites: Sequence[Site], method: Method, layers: Sequence[str] = ("*",)) -> list[Factor]:
    """A replacement for each site whose path matches a wildcard, all at the MACs of the separable convolution.

    Raises:
        UserError: a wildcard matches nothing, or nothing can be replaced.
    """
    if not sites:
        raise UserError("The network has no dense convolution to decompose")
    for pattern in layers:
        if not any(fnmatch.fnmatchcase(site.path, pattern) for site in sites):
            known = ", ".join(site.path for site in sites)
            raise UserError(f"--layers {pattern} matches no convolution that could be decomposed; there are: {known}")
    kind = KINDS.get(method, "separable")
    chosen = [site for site in sites if any(fnmatch.fnmatchcase(site.path, pattern) for pattern in layers)]
    if kind == "spatial":  # a row or a column has nothing to be cut
        chosen = [site for site in chosen if min(site.kernel_size) > 1]
    if not chosen:
        raise UserError("There is no dense convolution to decompose")
    ranks = (
        rank_at_equal_cost(kind, site.channels, site.taps, site.features, site.kernel_size)
        if kind != "separable"
        else 0
        for site in chosen
    )
    return [Factor(site.path, kind, rank, not site.norm) for site, rank in zip(chosen, ranks, strict=True)]


def save_plan(plan: Sequence[Factor], path: Path) -> None:
    """One replacement a line, as JSON."""
    try:
        write_atomically(path, json.dumps([str(factor) for factor in plan], indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): choose another --write-plan") from error


def load_plan(path: Path, sites: Sequence[Site]) -> list[Factor]:
    """An edited plan, in the order of evaluation.

    Raises:
        UserError: it cannot be read, or names what the network does not have.
    """
    try:
        texts = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a plan ({error}); --write-plan makes one") from error
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{path} is no plan: a list of replacements such as conv1=separable is wanted")
    factors = {factor.path: factor for factor in map(Factor.parse, texts)}
    paths = [site.path for site in sites]
    for path_ in factors:
        if path_ not in paths:
            raise UserError(f"{path}: there is no convolution {path_!r} to decompose; there are: {', '.join(paths)}")
    by_path = {site.path: site for site in sites}
    for name, factor in factors.items():
        if factor.kind == "dense":
            raise UserError(f"{path}: {factor} replaces nothing: leave the line out")
        most = by_path[name].largest_rank(factor.kind)
        if factor.rank > most:
            raise UserError(f"{path}: {factor} has more features than there can be: give at most {most}")
    return [dataclasses.replace(factors[p], bias=not by_path[p].norm) for p in paths if p in factors]
