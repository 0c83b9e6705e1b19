"""Batch norms folded into the convolutions before them: the same network for inference, with fewer operations."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import JaxprEqn, Var
from jaxtyping import Array, Float

from jsep.layers import BatchNorm, Conv, DepthwiseConv, PointwiseConv

LINEAR = (Conv, PointwiseConv, DepthwiseConv, nn.Dense)  # their kernels end with the output channels


def fold_batch_norms(
    model: nn.Module, variables: Mapping[str, Any], input_shape: Sequence[int]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Variables for `apply_folded`, and which convolution each batch norm went into: {its path: the norm's path}.

    With factor = scale / sqrt(var + epsilon), a convolution whose output goes to a batch norm and nowhere else gets its
    kernel times the factor; what is added to each channel is added once, by the convolution where it has a bias, else
    by the batch norm. A batch norm behind anything else is left with a scale and a bias. Computed in float64.

    >>> model = create_model("resnet20", depth=8)
    >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    >>> folded, pairs = fold_batch_norms(model, variables, (8, 8, 3))
    >>> len(pairs), pairs["stem"], list(folded["params"]["stem_norm"])
    (7, 'stem_norm', ['bias'])
    """
    pairs, epsilons = _pairs(model, variables, input_shape)
    convs = {norm: conv for conv, norm in pairs.items()}
    params: dict[str, Any] = flatten_dict(dict(variables["params"]), sep="/")
    statistics: dict[str, Any] = flatten_dict(dict(variables.get("batch_stats", {})), sep="/")
    left = {path: value for path, value in statistics.items() if path.rsplit("/", 1)[0] not in epsilons}
    for norm, epsilon in epsilons.items():
        mean, var = (np.asarray(statistics[f"{norm}/{name}"], np.float64) for name in ("mean", "var"))
        scale, bias = (np.asarray(params.pop(f"{norm}/{name}"), np.float64) for name in ("scale", "bias"))
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
    return {"params": unflatten_dict(arrays, sep="/"), "batch_stats": unflatten_dict(left, sep="/")}, pairs


def apply_folded(model: nn.Module, variables: Mapping[str, Any], x: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
    """Logits of `model` with variables that `fold_batch_norms` made of its own."""
    with nn.intercept_methods(_affine):
        logits: Any = model.apply(variables, x, train=False)
    return logits


def _affine(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
    """In the place of a batch norm, what is left of it."""
    layer = context.module
    if not isinstance(layer, BatchNorm) or context.method_name != "__call__":
        return call(*args, **kwargs)
    x, left = args[0], layer.variables.get("params", {})
    shape = (1,) * (x.ndim - 1) + (-1,)
    if "scale" in left:
        x = x * left["scale"].reshape(shape)
    return x + left["bias"].reshape(shape) if "bias" in left else x


def _pairs(
    model: nn.Module, variables: Mapping[str, Any], input_shape: Sequence[int]
) -> tuple[dict[str, str], dict[str, float]]:
    """{convolution: the batch norm that alone takes its output}, and {batch norm: its epsilon}.

    Layers leave their names in the program, where it can be seen who takes what.
    """
    calls: Counter[str] = Counter()
    epsilons: dict[str, float] = {}

    def leave_names(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        layer, path = context.module, "/".join(context.module.path)
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if isinstance(layer, BatchNorm):
            calls[path] += 1
            epsilons[path] = layer.epsilon
            return call(checkpoint_name(args[0], f"to {path}"), *args[1:], **kwargs)
        y = call(*args, **kwargs)
        # what another layer stands in for has no kernel of its own
        if isinstance(layer, LINEAR) and layer.has_variable("params", "kernel"):
            calls[path] += 1
            y = checkpoint_name(y, f"from {path}")
        return y

    def logits(variables: Mapping[str, Any], x: Array) -> Any:
        with nn.intercept_methods(leave_names):
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
    """What `leave_names` left there."""
    return equation.params["name"] if equation.primitive.name == "name" else ""
