"""The devices that train. The only file that knows `pmap`; its callers see whole batches and one copy of the state.

`pmap` maps the state with axis `None`, so the state stays replicated without a leading device axis.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jsep.errors import UserError
from jsep.ops import inference_options
from jsep.train.step import EvalStep, TrainStep

AXIS = "batch"


def lower_train_step(step: TrainStep, devices: Sequence[Any], state: Any, constants: Any, batch: Any) -> Any:
    """Map a training step over devices, and lower it for arguments of these shapes without running it.

    Args:
        step: see `jsep.train.step.make_train_step`.
        devices: the devices of all processes; they need not be present, since nothing runs.
        state: the training state. Its buffers are donated at each call.
        constants: the constants of the step, the same on all devices.
        batch: arrays of shape (devices, n, ...).

    Returns:
        The lowered step, a `jax.stages.Lowered`.
    """
    mapped = jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, None, 0),
        out_axes=(None, None),
        devices=devices,
        donate_argnums=(0,),
    )
    return mapped.lower(state, constants, batch)


def lower_eval_step(
    step: EvalStep, devices: Sequence[Any], variables: Any, constants: Any, batch: Any, mask: Any
) -> Any:
    """Map an evaluation step over devices, and lower it for arguments of these shapes without running it.

    Args:
        step: see `jsep.train.step.make_eval_step`.
        devices: the devices of all processes; they need not be present, since nothing runs.
        variables: the network's variables, the same on all devices.
        constants: the constants of the feed, the same on all devices.
        batch: arrays of shape (devices, n, ...).
        mask: 1 for an image and 0 for padding, of shape (devices, n).

    Returns:
        The lowered step, a `jax.stages.Lowered`.
    """
    axes: dict[str, Any] = {"in_axes": (None, None, 0, 0), "out_axes": (None, 0)}
    return jax.pmap(step, axis_name=AXIS, devices=devices, **axes).lower(variables, constants, batch, mask)


class Devices:
    """The devices that share every batch.

    Attributes:
        devices: the devices of all processes, ordered by process.
    """

    def __init__(self, number: int = 0):
        """Choose the devices.

        Args:
            number: how many devices of each process to use; 0 takes all.

        Raises:
            UserError: there are fewer devices than that.
        """
        local = jax.local_devices()
        if number > len(local):
            raise UserError(
                f"`devices`={number}: there are {len(local)} here; on a CPU, XLA_FLAGS="
                f"--xla_force_host_platform_device_count={number} simulates more"
            )
        by_process: dict[int, list[Any]] = {}
        for device in jax.devices():
            by_process.setdefault(device.process_index, []).append(device)
        taken = number or len(local)
        self.devices = [device for _, own in sorted(by_process.items()) for device in own[:taken]]
        mesh = Mesh(np.array(self.devices), (AXIS,))
        self._replicated, self._shared = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), (AXIS,)))

    @property
    def kind(self) -> str:
        """The devices' name, such as "TPU v5 lite"."""
        return self.devices[0].device_kind

    def check_batch(self, batch_size: int, pieces: int = 1, even: bool = False) -> None:
        """Check that the devices can share a batch equally.

        Args:
            batch_size: images in the batch, over all devices.
            pieces: pieces that each device splits its share into.
            even: whether each device needs an even number of images.

        Raises:
            UserError: they cannot share it.
        """
        number = len(self.devices) * pieces
        if batch_size % number:
            below = max(batch_size // number * number, number)
            said = f"{len(self.devices)} devices" + (f" in {pieces} pieces each" if pieces > 1 else "")
            other = "`accumulate`=1" if pieces > 1 else "`devices`=1"
            raise UserError(f"A batch of {batch_size} cannot be shared by {said}: take `batch_size`={below} or {other}")
        if even and batch_size // len(self.devices) % 2:
            raise UserError(
                f"`mixup` and `cutmix` need an even number of images on each device, and a batch of {batch_size} "
                f"gives {batch_size // len(self.devices)}: take `batch_size`={2 * batch_size}"
            )

    def replicate(self, tree: Any) -> Any:
        """Copy a tree of arrays, which must be the same in every process, to every device."""
        return jax.tree.map(partial(jax.make_array_from_process_local_data, self._replicated), jax.device_get(tree))

    def train_step(
        self, step: TrainStep, state: Any, constants: Any, batch: Any
    ) -> Callable[[Any, Any, Any], tuple[Any, jax.Array]]:
        """Compile a training step for these devices and arguments of these shapes.

        Args:
            step: see `jsep.train.step.make_train_step`.
            state: the training state, replicated.
            constants: the constants of the step, replicated.
            batch: this process's share of a batch, arrays of shape (n, ...).

        Returns:
            A function from a state, the constants and a batch to the next state and the mean loss. It donates the
            buffers of the old state, which must not be used again.
        """
        compiled = lower_train_step(step, self.devices, state, constants, self._split(batch)).compile()
        starved = self.devices[0].platform == "cpu" and len(self.devices) > 1

        def run(state: Any, constants: Any, batch: Any) -> tuple[Any, jax.Array]:
            state, loss = compiled(state, constants, self._split(batch))
            # simulated devices share a few threads; queued steps would starve them until XLA aborts the process
            return state, loss.block_until_ready() if starved else loss

        return run

    def eval_step(self, step: EvalStep) -> Callable[[Any, Any, Any, Any], Any]:
        """Map an evaluation step over these devices.

        Args:
            step: see `jsep.train.step.make_eval_step`.

        Returns:
            A function from variables, constants, this process's share of a batch and its mask to what the step keeps
            of the whole batch, and to arrays (devices, n, ...) of its images. It is compiled for the shapes of its
            first call.
        """
        compiled: Any = None

        def run(variables: Any, constants: Any, batch: Any, mask: Any) -> Any:
            nonlocal compiled
            arguments = (variables, constants, self._split(batch), self._split(mask))
            compiled = compiled or lower_eval_step(step, self.devices, *arguments).compile(inference_options())
            found = compiled(*arguments)
            return jax.block_until_ready(found) if len(self.devices) > 1 else found

        return run

    def _split(self, batch: Any) -> Any:
        """Return the whole batch (devices, batch / devices, ...), made of each process's share (n, ...)."""

        def split(x: np.ndarray) -> Any:
            own = x.reshape(len(self.devices) // jax.process_count(), -1, *x.shape[1:])
            return own if jax.process_count() == 1 else jax.make_array_from_process_local_data(self._shared, own)

        return jax.tree.map(split, batch)
