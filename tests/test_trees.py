"""Trees of arrays on disk."""

import jax.numpy as jnp
import numpy as np
from safetensors import safe_open

from jsep.trees import differences, flatten, save_arrays


def test_arrays_of_any_layout_come_back_equal(tmp_path):
    """safetensors 0.8 takes the buffer of an array for its elements in C order."""
    rows = np.arange(24, dtype=np.float32).reshape(4, 6)
    tree = {"layer": {"fortran": np.asfortranarray(rows), "strided": rows[:, ::2], "scalar": np.float32(3)}}
    tree["device"] = {"transposed": jnp.asarray(rows).T}
    save_arrays(tmp_path / "w.safetensors", tree, {"model": "none"})
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
    with safe_open(tmp_path / "w.safetensors", "numpy") as file:
        assert file.metadata() == {"model": "none"}
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    wanted = flatten(tree)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)


def test_differences_are_named():
    one, other = {"a": {"b": np.ones(2)}}, {"a": {"b": np.ones(3), "c": np.ones(1)}}
    assert differences(one, other) == ["a/b", "a/c"]
    assert differences(one, one) == []
