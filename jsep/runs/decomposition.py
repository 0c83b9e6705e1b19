"""Decomposition of a trained network: from its run folder to a new one."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jsep.compress import LayerResult, Options, Site, decompose, find_sites, load_plan, make_plan, renew_statistics
from jsep.data import Split, normalize
from jsep.errors import UserError, require, typed
from jsep.models.factored import Factor
from jsep.report import save_layers
from jsep.results import write_rows
from jsep.runs.adopt import save_weights
from jsep.runs.data import DataRecord
from jsep.runs.evaluate import load_run
from jsep.runs.folder import RunFolder
from jsep.train.setup import Setup
from jsep.trees import on_host

BATCH = 50  # images per forward pass


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A trained run that is ready to be decomposed.

    Attributes:
        setup: the data, network and devices of the run.
        model: the network for a single device, without the axis over which batch norms share statistics.
        variables: its trained variables, on the host.
        sites: the convolutions that can be replaced.
    """

    setup: Setup
    model: nn.Module
    variables: dict[str, Any]
    sites: list[Site]

    @classmethod
    @typed
    def open(cls, run: Path, checkpoint: str = "best", **changes: Any) -> "TrainedRun":
        """Open a run. The arguments are those of `load_run`.

        Raises:
            UserError: the run cannot be read, or is already decomposed.
        """
        setup, _, variables = load_run(run, checkpoint, **changes)
        if setup.config.factored:
            raise UserError(f"{run} is already decomposed: give the run that it was made from")
        model = setup.model.clone(axis_name=None)
        return cls(setup, model, on_host(variables), find_sites(model, setup.dataset.image_shape))

    def plan(self, options: Options, layers: Sequence[str], file: Path | None) -> list[Factor]:
        """Return the replacements of a decomposition.

        Args:
            options: gives the method.
            layers: wildcards of the paths of the convolutions to replace.
            file: a plan file to read instead; None for none.

        Raises:
            UserError: nothing matches, or the plan cannot be read.
        """
        return load_plan(file, self.sites) if file else make_plan(self.sites, options.method, layers)


@typed
def decompose_run(
    source: TrainedRun,
    plan: Sequence[Factor],
    options: Options,
    out: Path,
    *,
    images: int,
    recalibrate: int,
    console: Console,
) -> list[LayerResult]:
    """Decompose a run, and write a new run folder with the weights, layers.csv and a figure of the layers.

    Args:
        source: the trained run.
        plan: the replacements, see `TrainedRun.plan`.
        options: how a layer is fitted.
        out: the new run folder.
        images: number of training images to fit to; all where there are fewer.
        recalibrate: number of training batches from which all batch norms take new statistics; 0 keeps the old ones.
        console: for the progress.

    Returns:
        A row for each replaced convolution.

    Raises:
        UserError: `images` is less than 1, or `out` already holds a run.
    """
    setup = source.setup
    chosen = _images(setup, images, options.seed)
    out = RunFolder.reserve(out).path

    def batches() -> Iterator[Array]:
        for start in range(0, len(chosen), BATCH):
            yield normalize(jnp.asarray(chosen[start : start + BATCH]), *setup.statistics)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("layers", total=len(plan))
        model, variables, rows = decompose(
            source.model,
            source.variables,
            source.sites,
            plan,
            batches,
            options,
            lambda row: progress.update(task, advance=1, description=row.path),
        )
        if recalibrate:
            fresh = _training_batches(setup, recalibrate, options.seed)
            variables = renew_statistics(model, variables, fresh, options.seed)
    config = dataclasses.replace(setup.config, factored=tuple(map(str, plan)), init=None)
    write_rows(out / "layers.csv", rows)
    save_layers(out, rows)
    save_weights(config, variables, out)
    DataRecord.of(setup.dataset).save(out)
    return rows


def _images(setup: Setup, number: int, seed: int) -> np.ndarray:
    """Return training images (number, h, w, c) to fit to, chosen at random; all where there are fewer."""
    require(number >= 1, "images", number, "at least 1")
    part = setup.dataset.train
    number = min(number, len(part))
    if isinstance(part, Split):
        return part.images[np.sort(np.random.default_rng(seed).permutation(len(part))[:number])]
    images, _ = next(setup.training.training(number, seed, 0))  # decoded and cropped to one size
    return images


def _training_batches(setup: Setup, number: int, seed: int) -> Iterator[Array]:
    """Return an iterator over `number` batches of normalised training images."""
    feed = setup.training.training(min(setup.config.recipe.batch_size, setup.training.size), seed, 0)
    constants = jax.device_put(setup.training.constants)

    @jax.jit
    def images(batch: Any) -> Array:
        return normalize(setup.training.fetch(constants, batch)[0], *setup.statistics)

    return map(images, itertools.islice(feed, number))
