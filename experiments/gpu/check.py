"""Operations, batch norm and networks on the GPU against float64 on the CPU: outputs and gradients.

Three types: float32 with `jax_default_matmul_precision=highest`, float32 as JAX computes it by default (TF32 on the
tensor cores), and bfloat16. A figure is ||found - expected|| / ||expected||, the largest over the lowerings of an
operation. The limits are generous multiples of what the same program differs by on the CPU, in float32 or bfloat16.
"""

import itertools
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from machine import Rows, arguments

from jsep import ops
from jsep.models import create_model

jax.config.update("jax_enable_compilation_cache", False)  # what is checked is compiled here and now

TYPES = ("float32 highest", "float32 default", "bfloat16")
Values = dict[str, list[Any]]  # by quantity: arrays that are compared one by one

# name, options, side of the images: small, since float64 convolutions are slow on a CPU
NETWORKS: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("mobilenet_v1_025", {"input": "cifar"}, 32),
    ("resnet20", {}, 32),
    ("mobilenet_v2_050", {"dropout": 0.0}, 64),
    ("shufflenet_v2_x0_5", {}, 64),
    ("eca_resnet18", {}, 64),
    ("sdensenet100_k12_bc", {"depth": 22}, 32),
    ("dicenet_x0_2", {"dropout": 0.0}, 64),
    ("vgg16_wksc4", {"width": 0.25}, 32),
    ("antnet_g2", {}, 64),
    ("addressnet20", {}, 32),
)


class Check(NamedTuple):
    """Something to compute in every type.

    Attributes:
        name: what it is, in words.
        make: from a dtype, a function of the arguments that returns the values to compare.
        inputs: the arguments; arrays of floats are exact in bfloat16.
        floors: limits for the three types where the CPU differs less.
    """

    name: str
    make: Callable[[Any], Callable[..., Values]]
    inputs: Any
    floors: dict[str, float]


def normal(seed: int, *shape: int, mean: float = 0.0) -> np.ndarray:
    """Return random numbers that bfloat16 holds exactly."""
    numbers = np.random.default_rng(seed).normal(mean, 1.0, shape)
    return np.asarray(jnp.asarray(numbers, jnp.bfloat16).astype(jnp.float32))


def operation(name: str, functions: dict[str, Callable], *inputs: np.ndarray) -> Check:
    """Return the check of an operation: each of its lowerings, and their gradients along one random cotangent."""

    def make(dtype: Any) -> Callable[..., Values]:
        def compute(*args: Any) -> Values:
            found: Values = {"output": [], "gradients": []}
            for function in functions.values():
                y, transpose = jax.vjp(function, *args)
                # a cast to bfloat16 and back would be left out by XLA on a GPU, which may keep excess precision
                g = jax.lax.reduce_precision(jnp.cos(jnp.arange(y.size, dtype=jnp.float32) * 0.7), 8, 7)
                found["output"].append(y)
                found["gradients"].append(list(transpose(g.astype(y.dtype).reshape(y.shape))))
            return found

        return compute

    floors = {"float32 highest": 2e-5, "float32 default": 3e-3, "bfloat16": 1e-2}
    return Check(name + (f" ({', '.join(functions)})" if len(functions) > 1 else ""), make, inputs, floors)


def operations(small: bool) -> list[Check]:
    """Return the operations in their lowerings at several geometries."""
    n, side, c = (2, 9, 8) if small else (16, 29, 64)
    checks = []
    geometries = [(3, 1, 1, "TORCH"), (3, 2, 1, "TORCH"), (5, 1, 1, "TORCH"), (5, 2, 1, "SAME"), (3, 1, 2, "TORCH")]
    geometries += [(7, 2, 1, "TORCH"), (3, 2, 2, "VALID")]
    if small:
        geometries = geometries[1:2]
    x = normal(0, n, side, side, c)
    for (k, s, d, padding), multiplier in itertools.product(geometries, (1,) if small else (1, 2)):
        if multiplier == 2 and k != 3:
            continue
        options: Any = {"strides": s, "dilation": d, "padding": padding}
        functions = {way: partial(ops.depthwise_conv, lowering=way, **options) for way in ("auto", "taps", "xla")}
        what = f"depthwise {k}x{k}, stride {s}, dilation {d}, {padding}, multiplier {multiplier}"
        checks.append(operation(what, functions, x, normal(1, k, k, 1, c * multiplier)))
    dense = [(3, 1, 1, 1), (3, 2, 1, 1), (1, 1, 1, 1), (3, 1, 1, 4), (3, 2, 2, 8), (7, 2, 1, 1)]
    for k, s, d, groups in dense[1:2] if small else dense:
        options = {"strides": s, "dilation": d, "groups": groups}
        functions = {way: partial(ops.conv, lowering=way, **options) for way in ("auto", "products", "xla")}
        inputs = x[..., :3] if k == 7 else x
        what = f"convolution {k}x{k}, stride {s}, dilation {d}, {groups} group{'s' if groups > 1 else ''}"
        checks.append(operation(what, functions, inputs, normal(2, k, k, inputs.shape[-1] // groups, 2 * c)))
    i, j, channel = np.ogrid[:side, :side, :c]
    # no two values of a window are equal: which of them gets the gradient of a maximum is not told
    ramp = (7 * i + 13 * j + 5 * channel + np.arange(0, 11 * n, 11).reshape(-1, 1, 1, 1)) % 251
    ramp = (ramp / 64 - 2).astype(np.float32)
    line = {way: partial(ops.depthwise_conv, lowering=way) for way in ("auto", "taps", "xla")}
    rest = [
        operation("pointwise, stride 2", {"": partial(ops.pointwise_conv, strides=2)}, x, normal(3, 1, 1, c, 2 * c)),
        operation("depthwise in one dimension", line, x[:, 0], normal(4, 5, 1, c)),
        operation("max pool 2, disjoint", {"": lambda x: ops.max_pool(x, 2)}, ramp),
        operation("max pool 3, stride 2", {"": lambda x: ops.max_pool(x, 3, strides=2, padding="TORCH")}, ramp),
        operation("average pool 3, stride 2", {"": lambda x: ops.avg_pool(x, 3, strides=2, padding="TORCH")}, x),
        operation("resize up", {"": lambda x: ops.resize_axis(x, 1, 2 * side)}, x),
        operation("resize down", {"": lambda x: ops.resize_axis(x, 2, side // 2)}, x),
        operation("channel shuffle", {"": lambda x: ops.channel_shuffle(x, 4)}, x),
        operation("channel shift", {"": lambda x: ops.channel_shift(x, 3)}, x),
        operation("address shift", {"": lambda x: ops.address_shift(x)}, x),
        operation("group sum", {"": lambda x, w: ops.group_sum(x, 4, w)}, x, normal(5, c)),
        operation("shared kernel", {"": lambda k: ops.expand_shared_kernel(k, c)}, normal(6, 3, 3, c // 4, c)),
    ]
    return checks + (rest[:4] if small else rest)


def batch_norms(small: bool) -> list[Check]:
    """Return training and inference batch norm, also far from zero."""
    shape = (4, 5, 5, 8) if small else (64, 29, 29, 64)
    c = shape[-1]
    scale, bias = normal(1, c, mean=1.0), normal(2, c)

    def train(x: Any, scale: Any, bias: Any) -> Any:
        y, mean, variance = ops.batch_norm_train(x, scale, bias, 1e-5)
        wide = jnp.stack([mean, variance]).astype(y.dtype)
        return jnp.concatenate([y.reshape(-1, c), jax.lax.stop_gradient(wide)])

    def infer(x: Any, scale: Any, bias: Any) -> Any:
        return ops.batch_norm(x, bias, jnp.abs(scale) + 0.5, scale, bias, 1e-5)

    checks = [
        operation("batch norm, training", {"": train}, normal(0, *shape), scale, bias),
        operation("batch norm, inference", {"": infer}, normal(0, *shape), scale, bias),
    ]
    away = normal(0, *shape, mean=30.0)
    return [*checks, operation("batch norm, training, 30 deviations from zero", {"": train}, away, scale, bias)]


def network(name: str, options: dict[str, Any], side: int, batch: int) -> Check:
    """Return the check of a network: logits in both modes, batch statistics and all gradients of the loss."""
    x = normal(7, batch, side, side, 3)
    labels = np.arange(batch) % 10
    shapes = jax.eval_shape(create_model(name, num_classes=10, **options).init, jax.random.key(0), x[:1])
    with jax.default_device(jax.devices("cpu")[0]):
        variables = create_model(name, num_classes=10, **options).init(jax.random.key(0), x[:1])
    variables = jax.tree.map(np.asarray, dict(variables))
    assert jax.tree.structure(variables) == jax.tree.structure(dict(shapes))
    random = np.random.default_rng(8)

    def statistic(path: Any, value: np.ndarray) -> np.ndarray:
        low, high = (0.5, 1.5) if "var" in jax.tree_util.keystr(path) else (-0.2, 0.2)
        return random.uniform(low, high, value.shape).astype(np.float32)

    variables["batch_stats"] = jax.tree_util.tree_map_with_path(statistic, variables["batch_stats"])

    def make(dtype: Any) -> Callable[..., Values]:
        model = create_model(name, num_classes=10, dtype=dtype, **options)

        def compute(variables: Any, x: Any, labels: Any) -> Values:
            def loss(params: Any) -> Any:
                logits, updated = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
                wide = jax.nn.log_softmax(logits.astype(x.dtype))
                return -jnp.take_along_axis(wide, labels[:, None], 1).mean(), (logits, updated["batch_stats"])

            (_, (logits, stats)), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
            evaluated = model.apply(variables, x, train=False)
            flat = [jnp.concatenate([a.ravel() for a in jax.tree.leaves(tree)]) for tree in (gradients, stats)]
            return {"logits": [evaluated], "training logits": [logits], "statistics": [flat[1]], "gradients": [flat[0]]}

        return compute

    floors = {"float32 highest": 3e-4, "float32 default": 1e-2, "bfloat16": 3e-2}
    return Check(" ".join([name, *(f"{k}={v}" for k, v in options.items())]), make, (variables, x, labels), floors)


def run(check: Check, device: Any, kind: str) -> Values:
    """Compute a check on a device, in one of the types or in float64."""
    is_network = isinstance(check.inputs[0], dict)
    with jax.enable_x64(kind == "float64"):
        dtype = jnp.dtype(kind.split()[0])
        # networks keep float32 parameters and compute in `dtype`; operations compute in the type of their inputs
        held = jnp.float32 if is_network and kind == "bfloat16" else dtype

        def cast(a: Any) -> Any:
            a = np.asarray(a)
            return jax.device_put(a.astype(held) if a.dtype.kind == "f" else a.astype(np.int32), device)

        precision = "default" if kind in ("float32 default", "bfloat16") else "highest"
        with jax.default_matmul_precision(precision):
            # the CPU runs each program once, so that optimising it would take longest
            plain = {"xla_backend_optimization_level": "0", "xla_llvm_disable_expensive_passes": True}
            compiled = jax.jit(check.make(dtype), compiler_options=plain if device.platform == "cpu" else None)
            values = compiled(*jax.tree.map(cast, check.inputs))
    return jax.tree.map(lambda a: np.asarray(a).astype(np.float64), values)


def difference(found: list[Any], expected: list[Any]) -> float:
    """Return the largest relative difference of pairs of arrays; infinite where something is not finite."""

    def of(a: np.ndarray, b: np.ndarray) -> float:
        value = float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30))
        return value if np.isfinite(value) else float("inf")

    return max(map(of, jax.tree.leaves(found), jax.tree.leaves(expected)), default=0.0)


def examine(check: Check, cpu: Any, gpu: Any, types: list[str]) -> list[dict[str, Any]]:
    """Return a row for each type and quantity of a check."""
    exact = run(check, cpu, "float64")
    own = {kind: run(check, cpu, kind) for kind in ("float32 highest", "bfloat16")}
    rows = []
    for kind in types:
        found = run(check, gpu, kind)
        for quantity in exact:
            here = difference(found[quantity], exact[quantity])
            there = {key: difference(values[quantity], exact[quantity]) for key, values in own.items()}
            # TF32 keeps ten bits, bfloat16 seven
            base = 10 * there[kind] if kind == "float32 highest" else 2 * there["bfloat16"]
            limit = max(check.floors[kind], base)
            row = {"check": check.name, "type": kind, "quantity": quantity, "difference": here}
            row |= {"cpu_float32": there["float32 highest"], "cpu_bfloat16": there["bfloat16"], "limit": limit}
            rows.append({**row, "right": here <= limit, "note": ""})
    return rows


def main() -> int:
    """Run all checks, a few at a time; print a table, and return whether something was wrong."""
    begin, args, rows = time.monotonic(), arguments(__doc__ or ""), Rows("check")
    cpu, gpu = jax.devices("cpu")[0], jax.devices()[0]
    if gpu.platform == "cpu" and not args.rehearse:
        print("JAX sees no GPU: the check has nothing to compare (--rehearse runs it on the CPU)")
        return 1
    print(f"check on {gpu.device_kind} against float64 on the CPU; jax_default_matmul_precision highest and default")
    networks = NETWORKS[:1] if args.rehearse else NETWORKS
    makers: list[Callable[[], list[Check]]] = [
        partial(batch_norms, args.rehearse),
        partial(operations, args.rehearse),
        *(lambda spec=spec: [network(*spec, batch=4 if args.rehearse else 8)] for spec in networks),
    ]
    wrong, done, lock = [], [], threading.Lock()

    def known(check: Check, kind: str) -> bool:
        latest = {row["quantity"]: row["right"] for row in rows.matching(check=check.name, type=kind)}
        return bool(latest) and set(latest.values()) == {"True"}

    def one(check: Check) -> list[dict[str, Any]]:
        types = [kind for kind in TYPES if not known(check, kind)]
        if not types or time.monotonic() - begin > args.seconds - 5:
            return []
        try:
            return examine(check, cpu, gpu, types)
        except Exception as error:
            with lock:
                print(check.name)
                traceback.print_exc(limit=-3)
            first = (str(error).splitlines() or [""])[0][:200]
            empty = dict.fromkeys(("difference", "cpu_float32", "cpu_bfloat16", "limit"), "")
            row = {"check": check.name, "type": "all", "quantity": "", **empty, "right": False}
            return [{**row, "note": f"{type(error).__name__}: {first}"}]

    pool = ThreadPoolExecutor(max(2, (os.cpu_count() or 2) * 3 // 4))
    checks = [check for make in makers for check in make()]
    # networks first: they take longest, and a wrong operation shows in them too
    checks.sort(key=lambda check: not isinstance(check.inputs[0], dict))
    try:
        for future in as_completed([pool.submit(one, check) for check in checks], timeout=max(args.seconds, 1)):
            for row in future.result():
                rows.add(row)
                done.append(row)
                if not row["right"]:
                    wrong.append(row)
                    print(f"WRONG {row['check']}, {row['type']}, {row['quantity']}: {row['difference']} {row['note']}")
    except TimeoutError:
        print("The time is over")
    table(done)
    missing = [check.name for check in checks if not all(known(check, kind) for kind in TYPES)]
    if missing:
        print(f"Not right or not checked: {'; '.join(missing)}")
    print(f"{len(done) - len(wrong)} of {len(done)} right, {time.monotonic() - begin:.0f} s")
    sys.stdout.flush()
    os._exit(1 if wrong or missing else 0)  # threads may still compile


def table(rows: list[dict[str, Any]]) -> None:
    """Print the largest difference of every check, by type."""
    print(f"{'largest relative difference':90}" + "".join(f"{kind:>17}" for kind in TYPES))
    for name, gradients in dict.fromkeys((row["check"], row["quantity"] == "gradients") for row in rows):
        line = f"{name[:76] + (', gradients' if gradients else ', values'):90}"
        for kind in TYPES:
            mine = [row for row in rows if row["check"] == name and row["type"] == kind]
            mine = [row for row in mine if (row["quantity"] == "gradients") == gradients]
            bad = any(not row["right"] for row in mine)
            line += f"{max(row['difference'] for row in mine):>15.1e}{' !' if bad else '  '}" if mine else f"{'-':>17}"
        print(line)


if __name__ == "__main__":
    sys.exit(main())
