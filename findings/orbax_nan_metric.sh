#!/bin/sh
# orbax-checkpoint 0.12.8: with the preservation policy BestN, a single checkpoint whose metric is NaN can push out the
# one that is really best. Python's sort of floats with a NaN among them is no order, and Orbax sorts by the metric.
#
# Seen with Python 3.11 and jax 0.10.2, keeping the latest and the best:
#   accuracies 0.5, 0.9, 0.6, 0.7 keep steps 1 and 3; 0.5, 0.9, NaN, 0.7 keep step 3 alone
#
# It matters for whoever keeps the best checkpoint of a training that may diverge: give NaN a rank of its own.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet orbax-checkpoint==0.12.8 jax==0.10.2
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - "$folder/run" <<'PYTHON'
import logging
import sys

import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

logging.disable(logging.WARNING)


def kept(folder, metrics):
    policy = checkpoint_managers.AnyPreservationPolicy(
        [
            checkpoint_managers.LatestN(1),
            checkpoint_managers.BestN(get_metric_fn=lambda m: m["accuracy"], n=1),
        ]
    )
    options = ocp.CheckpointManagerOptions(preservation_policy=policy, best_fn=lambda m: m["accuracy"])
    with ocp.CheckpointManager(folder, options=options) as manager:
        for step, accuracy in enumerate(metrics):
            manager.save(step, args=ocp.args.StandardSave({"w": np.zeros(2)}), metrics={"accuracy": accuracy})
            manager.wait_until_finished()
        return sorted(manager.all_steps())


nan = float("nan")
finite, broken = kept(sys.argv[1] + "1", [0.5, 0.9, 0.6, 0.7]), kept(sys.argv[1] + "2", [0.5, 0.9, nan, 0.7])
print("0.5, 0.9, 0.6, 0.7 keeps", finite, " 0.5, 0.9, NaN, 0.7 keeps", broken)
sys.exit(not (1 in finite and 1 not in broken))
PYTHON
