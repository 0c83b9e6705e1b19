#!/bin/sh
# jax 0.10.2 on a CPU: compiled element-wise operations and a ReLU in front of a mean turn NaN into 0, so that a network
# whose weights are NaN answers with ordinary numbers. Without jit, and with jax 0.10.2 told to leave element-wise operations and
# reductions out of its library fusions, the answer is NaN.
#
# Seen with Python 3.11, for the mean of 63 threes and one NaN:
#   without jit: nan   jit: 2.953125   jit without those fusions: nan
#
# It matters for whoever looks at the loss alone to notice that a training has diverged, or at the logits alone to
# notice that a file of weights is damaged: check the weights.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import jax.numpy as jnp

assert jax.__version__ == "0.10.2"


def forward(x):
    return jax.nn.relu(2 * x + 1).mean((1, 2))


x = jnp.ones((4, 8, 8, 16)).at[0, 0, 0, 0].set(jnp.nan)
options = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
}
plain, compiled = forward(x)[0, 0], jax.jit(forward)(x)[0, 0]
without = jax.jit(forward, compiler_options=options)(x)[0, 0]
print("without jit:", plain, " jit:", compiled, " jit without those fusions:", without)
sys.exit(not (jnp.isnan(plain) and jnp.isfinite(compiled) and jnp.isnan(without)))
PYTHON
