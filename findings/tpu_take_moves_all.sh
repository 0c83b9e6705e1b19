#!/bin/sh
# jax 0.10.2 with libtpu 0.0.52 (compiled for a v5e, without a TPU): jnp.take of 128 images out of a data set of uint8 images
# (50000, 32, 32, 3) reorders the whole data set first, in every call, which takes four times its size in HBM. Out of the same
# bytes as (50000, 3072), with a reshape behind, only the 128 rows are read.
#
# Seen with Python 3.11:
#   (50000, 32, 32, 3): 614 MB of temporary memory
#   (50000, 3072): 0 MB of temporary memory
#
# It matters for whoever keeps CIFAR on the device: the reordering costs more than the training step of a small network.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 libtpu==0.0.52
cat > "$folder/program.py" <<'PYTHON'
import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

place = SingleDeviceSharding(topologies.get_topology_desc(platform="tpu", topology_name="v5e:1x1", chips_per_host_bounds=[1, 1, 1]).devices[0])
indices = jax.ShapeDtypeStruct((128,), jnp.int32, sharding=place)


def batch(images, indices):
    taken = jnp.take(images, indices, axis=0).reshape(-1, 32, 32, 3)
    return taken.astype(jnp.bfloat16) * 2


for shape in ((50_000, 32, 32, 3), (50_000, 3072)):
    images = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=place)
    memory = jax.jit(batch).lower(images, indices).compile().memory_analysis()
    print(f"{shape}: {memory.temp_size_in_bytes / 1e6:.0f} MB of temporary memory")
PYTHON
export JAX_PLATFORMS=cpu TPU_SKIP_MDS_QUERY=1 TPU_WORKER_HOSTNAMES=localhost TPU_ACCELERATOR_TYPE=v5litepod-1
"$folder/venv/bin/python" "$folder/program.py" | tee "$folder/seen"
cat > "$folder/expected" <<'TEXT'
(50000, 32, 32, 3): 614 MB of temporary memory
(50000, 3072): 0 MB of temporary memory
TEXT
cmp "$folder/seen" "$folder/expected"
