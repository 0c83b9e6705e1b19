"""Devices. The one file that knows `pmap`; everything above sees whole batches and one copy of the state.

The state goes in and comes out with `None` axes, so it stays replicated without a leading device axis.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jsep.errors import UserError
from jsep.train.step import EvalStep, TrainStep

AXIS = "batch"


class Devices:
    """The local devices that share every batch."""

    def __init__(self, number: int = 0):
        """Take `number` local devices, or all of them for 0."""
        local = jax.local_devices()
        if number > len(local):
            raise UserError(
                f"--devices {number}: there are {len(local)} here; on a CPU, XLA_FLAGS="
                f"--xla_force_host_platform_device_count={number} simulates more"
            )
        self.devices = local[: number or len(local)]
        self._replicated = NamedSharding(Mesh(np.array(self.devices), (AXIS,)), PartitionSpec())

    @property
    def kind(self) -> str:
        return self.devices[0].device_kind

    def check_batch(self, batch_size: int) -> None:
        """Refuse a batch that the devices cannot share equally."""
        number = len(self.devices)
        if batch_size % number:
            below = batch_size // number * number
            raise UserError(
                f"A batch of {batch_size} cannot be shared by {number} devices: take "
                f"--batch-size {max(below, number)} or --devices 1"
            )

    def replicate(self, tree: Any) -> Any:
        """Put a whole tree on every device."""
        return jax.device_put(tree, self._replicated)

    def train_step(
        self, step: TrainStep, state: Any, constants: Any, batch: Any
    ) -> Callable[[Any, Any, Any], tuple[Any, jax.Array]]:
        """Compile a step for these devices and arguments of these shapes; the old state is given up at each call."""
        mapped = jax.pmap(
            step,
            axis_name=AXIS,
            in_axes=(None, None, 0),
            out_axes=(None, None),
            devices=self.devices,
            donate_argnums=(0,),
        )
        compiled = mapped.lower(state, constants, self._split(batch)).compile()
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
        """(batch, ...) -> (devices, batch / devices, ...)"""
        return jax.tree.map(lambda x: x.reshape(len(self.devices), -1, *x.shape[1:]), batch)
