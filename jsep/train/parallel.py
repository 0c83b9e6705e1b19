"""Devices. The one file that knows `pmap`; everything above sees whole batches and one copy of the state.

The state goes in and comes out with `None` axes, so it stays replicated without a leading device axis.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jsep.errors import UserError
from jsep.train.step import EvalStep, TrainStep

AXIS = "batch"


def lower_train_step(step: TrainStep, devices: Sequence[Any], state: Any, constants: Any, batch: Any) -> Any:
    """Map a step over devices that need not be here, and lower it for arguments of these shapes.

    `batch` has a leading device axis; the old state is given up at each call.
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


class Devices:
    """The devices that share every batch, of all processes, ordered by process."""

    def __init__(self, number: int = 0):
        """Take `number` devices of each process, or all of them for 0."""
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
        return self.devices[0].device_kind

    def check_batch(self, batch_size: int, pieces: int = 1, even: bool = False) -> None:
        """Refuse a batch that the devices cannot share equally, in so many pieces each; or in pairs."""
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
        """Put a whole tree, the same in every process, on every device."""
        return jax.tree.map(partial(jax.make_array_from_process_local_data, self._replicated), jax.device_get(tree))

    def train_step(
        self, step: TrainStep, state: Any, constants: Any, batch: Any
    ) -> Callable[[Any, Any, Any], tuple[Any, jax.Array]]:
        """Compile a step for these devices and arguments of these shapes; the old state is given up at each call."""
        compiled = lower_train_step(step, self.devices, state, constants, self._split(batch)).compile()
        starved = self.devices[0].platform == "cpu" and len(self.devices) > 1

        def run(state: Any, constants: Any, batch: Any) -> tuple[Any, jax.Array]:
            state, loss = compiled(state, constants, self._split(batch))
            # simulated devices share few threads; a queue of steps starves them until XLA aborts the process
            return state, loss.block_until_ready() if starved else loss

        return run

    def eval_step(self, step: EvalStep) -> Callable[[Any, Any, Any, Any], Any]:
        """Map an evaluation step over these devices."""
        mapped = jax.pmap(step, axis_name=AXIS, in_axes=(None, None, 0, 0), out_axes=None, devices=self.devices)

        def run(variables: Any, constants: Any, batch: Any, mask: Any) -> Any:
            found = mapped(variables, constants, self._split(batch), self._split(mask))
            return jax.block_until_ready(found) if len(self.devices) > 1 else found

        return run

    def _split(self, batch: Any) -> Any:
        """This process's share (n, ...) of the batch -> the whole batch (devices, batch / devices, ...)"""

        def split(x: np.ndarray) -> Any:
            own = x.reshape(len(self.devices) // jax.process_count(), -1, *x.shape[1:])
            return own if jax.process_count() == 1 else jax.make_array_from_process_local_data(self._shared, own)

        return jax.tree.map(split, batch)
