"""The mixed lowerings in the TPU table compute the same convolution; compiling for a TPU needs libtpu."""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tpu_lowerings as experiment

FILE = Path(experiment.__file__)


def test_mixtures_are_the_same_convolution():
    rng = np.random.default_rng(0)
    x, kernel, g = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in [(2, 6, 6, 3), (3, 3, 1, 3), (2, 3, 3, 3)])

    @jax.jit
    def all_of_them():
        found = {}
        for name in experiment.NAMES:
            y, transpose = jax.vjp(experiment.mixture(*experiment.choose(name, 2), strides=2), x, kernel)
            found[name] = (y, *transpose(g))
        return found

    found = all_of_them()
    for outcome in found.values():
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), outcome, found["xla"])


def test_the_results_in_the_repository_hold_every_row():
    with (FILE.parent / "results" / "tpu_lowerings.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["what"] == experiment.NETWORK]
    steps = {(row["chip"], row["lowering"]): float(row["mb_moved"]) for row in rows}
    assert set(steps) == {(chip, name) for chip in experiment.CHIPS for name in experiment.NAMES}
    for chip in experiment.CHIPS:  # the default on a TPU is xla's
        assert steps[chip, "xla"] == min(steps[chip, name] for name in experiment.NAMES)
