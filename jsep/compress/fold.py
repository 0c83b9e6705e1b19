"""Folding batch norms into the convolutions before them: the same logits with fewer operations."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import JaxprEqn, Var
from jaxtyping import Array, Float

from jsep.layers import BatchNorm, Conv, DepthwiseConv, PointwiseConv
from jsep.layers.watch import Answer, path_of, watch
from jsep.trees import flatten, unflatten

VECTORS = ("mean", "var", "scale", "bias")  # of a batch norm; all are statistics of a frozen one
LINEAR = (Conv, PointwiseConv, DepthwiseConv, nn.Dense)  # the last axis of their kernels is the output channels


def fold_batch_norms(
    model: nn.Module, variables: Mapping[str, Any], input_shape: Sequence[int]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Fold the batch norms of a trained network into the convolutions before them.

    The kernel of a convolution whose output goes to a batch norm and nowhere else is multiplied by
    scale / sqrt(var + epsilon). The shift of each channel goes to the bias of the convolution where it has one, and
    stays with the batch norm otherwise. A batch norm behind anything else is reduced to a scale and a bias. All this is
    computed in float64.

    Args:
        model: the network.
        variables: its parameters and running statistics.
        input_shape: height, width and channels of an image.

    Returns:
        Float32 variables for `apply_folded`, and the folded pairs as {path of the convolution: path of the batch norm}.

    >>> model = create_model("resnet20", depth=8)
    >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    >>> folded, pairs = fold_batch_norms(model, variables, (8, 8, 3))
    >>> len(pairs), pairs["stem"], list(folded["params"]["stem_norm"])
    (7, 'stem_norm', ['bias'])
    """
    pairs, epsilons = _pairs(model, variables, input_shape)
    convs = {norm: conv for conv, norm in pairs.items()}
    params, statistics = flatten(variables["params"]), flatten(variables.get("batch_stats", {}))
    left = {path: value for path, value in statistics.items() if path.rsplit("/", 1)[0] not in epsilons}
    for norm, epsilon in epsilons.items():
        held = [params.pop(path, statistics.get(path)) for path in (f"{norm}/{name}" for name in VECTORS)]
        mean, var, scale, bias = (np.asarray(vector, np.float64) for vector in held)
        factor = scale / np.sqrt(var + epsilon)
        conv = convs.get(norm)
        if conv is None:
            params[f"{norm}/scale"], home = factor, norm
        else:
            params[f"{conv}/kernel"] = np.asarray(params[f"{conv}/kernel"], np.float64) * factor
            own = params.get(f"{conv}/bias")
            home = norm if own is None else conv
            mean = mean if own is None else mean - np.asarray(own, np.float64)
        params[f"{home}/bias"] = bias - mean * factor
    arrays = {path: jnp.asarray(value, jnp.float32) for path, value in params.items()}
    return {"params": unflatten(arrays), "batch_stats": unflatten(left)}, pairs


def apply_folded(model: nn.Module, variables: Mapping[str, Any], x: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
    """Return the logits of a network under folded variables.

    Args:
        model: the network that was given to `fold_batch_norms`.
        variables: the variables that it returned.
        x: normalised images.
    """
    with watch(_affine, BatchNorm):
        logits: Any = model.apply(variables, x, train=False)
    return logits


def _affine(layer: nn.Module, call: Answer, x: Array, *_: Any, **__: Any) -> Array:
    """Apply the scale and the bias that are left of a batch norm, where there are any."""
    left = layer.variables.get("params", {})
    shape = (1,) * (x.ndim - 1) + (-1,)
    if "scale" in left:
        x = x * left["scale"].reshape(shape)
    return x + left["bias"].reshape(shape) if "bias" in left else x


def _pairs(
    model: nn.Module, variables: Mapping[str, Any], input_shape: Sequence[int]
) -> tuple[dict[str, str], dict[str, float]]:
    """Return {convolution: the batch norm that alone takes its output} and {batch norm: its epsilon}, all by path.

    The layers mark their inputs and outputs with names in the program, which then tells who takes what.
    """
    calls: Counter[str] = Counter()
    epsilons: dict[str, float] = {}

    def leave_names(layer: nn.Module, call: Answer, x: Array, *args: Any, **kwargs: Any) -> Any:
        path = path_of(layer)
        if isinstance(layer, BatchNorm):
            calls[path] += 1
            epsilons[path] = layer.epsilon
            return call(checkpoint_name(x, f"to {path}"), *args, **kwargs)
        y = call(x, *args, **kwargs)
        if layer.has_variable("params", "kernel"):  # a layer that others stand in for has no kernel of its own
            calls[path] += 1
            y = checkpoint_name(y, f"from {path}")
        return y

    def logits(variables: Mapping[str, Any], x: Array) -> Any:
        with watch(leave_names, BatchNorm, *LINEAR):
            return model.apply(variables, x, train=False)

    program = jax.make_jaxpr(logits)(variables, jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)).jaxpr
    takers: dict[Any, list[str]] = defaultdict(list)
    for equation in program.eqns:
        for variable in equation.invars:
            if isinstance(variable, Var):
                takers[variable].append(_name(equation))
    for variable in program.outvars:
        takers[variable].append("the caller")
    pairs = {}
    for equation in program.eqns:
        source, conv = _name(equation).partition(" ")[::2]
        taken = takers[equation.outvars[0]] if source == "from" else []
        norm = taken[0].removeprefix("to ") if len(taken) == 1 else ""
        if norm in epsilons and calls[conv] == calls[norm] == 1:
            pairs[conv] = norm
    return pairs, epsilons


def _name(equation: JaxprEqn) -> str:
    """Return the name that `leave_names` put on an equation, empty for any other equation."""
    return equation.params["name"] if equation.primitive.name == "name" else ""
