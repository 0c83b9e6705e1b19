"""Trees of parameters by name."""

import numpy as np

from jsep.train.select import differences


def test_differences_are_named():
    one, other = {"a": {"b": np.ones(2)}}, {"a": {"b": np.ones(3), "c": np.ones(1)}}
    assert differences(one, other) == ["a/b", "a/c"]
    assert differences(one, one) == []
