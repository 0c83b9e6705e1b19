"""The contenders jsep, jsep.plain and xla: a compiled function on one device, without donated buffers."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jsep.bench.case import Case
from jsep.bench.plain import plain_convolutions
from jsep.layers import Conv, DepthwiseConv, PointwiseConv
from jsep.models import create_model, model_info
from jsep.models.detector import Answers
from jsep.models.segmenter import Maps
from jsep.ops import inference_options
from jsep.train.setup import TASKS

Built = tuple[Callable[[], Any], float, str]


def network(case: Case) -> nn.Module:
    """Return the network of a case; a convolution is a network of one layer."""
    size, stride, features = case.kernel_size, case.stride, case.features
    match case.op:
        case "depthwise":
            return DepthwiseConv(size, stride, multiplier=features // case.input_shape[-1], use_bias=False)
        case "pointwise":
            return PointwiseConv(features, stride, use_bias=False)
        case "dense":
            return Conv(features, size, stride, use_bias=False)
    return create_model(case.model, dtype=jnp.dtype(case.dtype), **case.options)


def build(case: Case, contender: str, variables: Any = None) -> Built:
    """Compile a case.

    Args:
        case: the case.
        contender: "xla" for Flax's convolutions; for "jsep.plain", `JSEP_NATIVE` is 0 in the process.
        variables: variables of the network; by default they are initialised, which is a program to compile, too.

    Returns:
        A function that runs one iteration to its end, the seconds of compilation, and the name of the device.
    """
    function, state = _operation(case) if case.op else _model(case, variables)
    start = time.perf_counter()
    with plain_convolutions() if contender == "xla" else contextlib.nullcontext():
        options = inference_options() if case.task == "infer" else None
        compiled = jax.jit(function).lower(*state).compile(options)
    seconds = time.perf_counter() - start

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(compiled(*state))

    def call() -> None:
        jax.block_until_ready(compiled(*state))

    trains = case.task == "train" and not case.op
    return run if trains else call, seconds, jax.devices()[0].device_kind


def matmul_gflops(dtype: str) -> float:
    """Return the GFLOP/s of a product of two 1024x1024 matrices on this machine, the median of nine runs."""
    size = 1024
    x = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(dtype))
    product = jax.jit(jnp.matmul)
    product(x, x).block_until_ready()
    seconds = []
    for _ in range(9):
        start = time.perf_counter()
        product(x, x).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / float(np.median(seconds)) / 1e9


def _operation(case: Case) -> tuple[Callable, tuple]:
    layer, dtype = network(case), jnp.dtype(case.dtype)
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (case.batch_size, *case.input_shape), dtype)
    params = jax.tree.map(lambda p: p.astype(dtype), layer.init(keys[1], x[:1]))

    def forward(params: Any, x: Any) -> Any:
        return layer.apply(params, x)

    def both(params: Any, x: Any, g: Any) -> Any:
        y, transpose = jax.vjp(forward, params, x)
        return y, transpose(g)

    if case.task == "infer":
        return forward, (params, x)
    y = jax.eval_shape(forward, params, x)
    return both, (params, x, jax.random.normal(keys[2], y.shape, dtype))


def _model(case: Case, variables: Any) -> tuple[Callable, tuple]:
    model = network(case)
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(keys[0], (case.batch_size, *case.input_shape))
    task, size = TASKS[model_info(case.model).task], case.input_shape[:2]
    targets = task.draw(keys[1], case.batch_size, size, case.num_classes)
    if variables is None:
        variables = jax.jit(model.init)(keys[2], x[:1])
    if case.task == "infer":
        return lambda variables, x: task.answer(model, model.apply(variables, x, train=False), size), (variables, x)
    optimizer = optax.sgd(1e-3, momentum=0.9)

    def step(variables: Any, opt_state: Any, x: Any, targets: Any, key: Any) -> Any:
        params = variables["params"]

        def loss_of(params: Any) -> Any:
            output, updated = model.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"], rngs={"dropout": key}
            )
            return _loss(model, output, targets), updated

        (_, updated), grad = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = optimizer.update(grad, opt_state, params)
        return {**updated, "params": optax.apply_updates(params, updates)}, opt_state, x, targets, key

    return step, (variables, optimizer.init(variables["params"]), x, targets, keys[3])


def _loss(model: Any, output: Any, targets: Any) -> Any:
    """Return the loss of a network's output."""
    if isinstance(output, Answers):
        return sum(model.loss(output, targets))
    if isinstance(output, Maps):
        return model.loss(output, targets.astype(jnp.int32))
    return optax.softmax_cross_entropy_with_integer_labels(output, targets).mean()
