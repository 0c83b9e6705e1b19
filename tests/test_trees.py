"""Trees of arrays on disk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.layout import Format, Layout
from safetensors import safe_open
from safetensors.numpy import save

from jsep import trees
from jsep.errors import UserError
from jsep.trees import as_weights, differences, flatten, load_arrays, on_host, save_arrays


def by_column(array):
    """Return an array of JAX that lies column by column, as many do on a TPU by default."""
    order = tuple(reversed(range(array.ndim)))
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.device_put(array, Format(Layout(order), here))


def test_arrays_from_a_device_lie_row_by_row_on_the_host():
    rows = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    array = by_column(rows)
    assert not np.asarray(array).flags.c_contiguous  # or this file shows nothing
    found = on_host({"a": array})["a"]
    assert found.flags.c_contiguous
    assert found.flags.owndata
    np.testing.assert_array_equal(found, rows)


def test_a_file_that_holds_other_values_is_not_left(tmp_path, monkeypatch):
    monkeypatch.setattr(trees, "save", lambda arrays, metadata: save({key: 2 * arrays[key] for key in arrays}))
    with pytest.raises(UserError, match="came back from disk with other values, in a:"):
        save_arrays(tmp_path / "w.safetensors", {"a": np.ones(3)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_weights_are_read_in_float32(tmp_path, dtype):
    save_arrays(tmp_path / "w.safetensors", {"a": jnp.dtype(dtype).type(1.5) * np.ones(3, jnp.dtype(dtype))})
    arrays, _ = load_arrays(tmp_path / "w.safetensors")
    assert arrays["a"].dtype == dtype
    assert as_weights(arrays, "w")["a"].dtype == np.float32
    assert as_weights(arrays, "w")["a"].tolist() == [1.5] * 3


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.ones(3, np.int8), "a has the dtype int8: give weights in float32"),
        (np.ones(3, jnp.float8_e4m3fn), "a has the dtype float8_e4m3fn: give weights in float32"),
        (np.array([1, np.nan], np.float32), "not finite numbers, in a: give weights of a training"),
        (np.array([1, -np.inf], np.float16), "not finite numbers, in a"),
        (np.array([1e300]), "not finite numbers, in a"),  # too large for float32
    ],
)
def test_what_cannot_be_weights_is_refused(array, sentence):
    with pytest.raises(UserError, match=sentence):
        as_weights({"a": array, "b": np.ones(2, np.float32)}, "w.safetensors")


def test_arrays_of_any_layout_come_back_equal(tmp_path):
    """safetensors 0.8 takes the buffer of an array for its elements in C order."""
    rows = np.arange(24, dtype=np.float32).reshape(4, 6)
    tree = {"layer": {"fortran": np.asfortranarray(rows), "strided": rows[:, ::2], "scalar": np.float32(3)}}
    tree["device"] = {"transposed": jnp.asarray(rows).T, "by column": by_column(rows)}
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
    assert differences(
        {"a": np.ones((2, 3)), "b": np.ones(1)}, {"a": np.ones((2, 4)), "b": np.ones(2)}, "a".__eq__
    ) == ["b"]
