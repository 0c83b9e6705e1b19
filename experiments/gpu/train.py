"""Eight small trainings on the embedded digits, in float32 and in bfloat16: the loss falls, and the accuracy is stated.

They run at the same time on the one card, so that their seconds say nothing about speed. float32 is computed as JAX
does by default on a GPU, in TF32.
"""

import math
import os
import sys
import time

from machine import Rows, arguments
from trainings import Training, train

EPOCHS, BATCH = 10, 128  # 310 steps
NETWORKS = (
    "separable_cnn width=0.25 momentum=0.9",
    "mobilenet_v1_025 input=cifar",
    "mobilenet_v2_050 input=cifar",
    "shufflenet_v2_x0_5 input=cifar",
    "resnet20",
    "sdensenet100_k12_bc depth=22",
    "vgg16_wksc4 width=0.25",
    "addressnet20",
)
SMALL = "separable_cnn width=0.0625 momentum=0.9"  # for the rehearsal
TYPES = ("float32", "bfloat16")
FALL, ACCURACY = 0.5, 0.8  # at most this share of the first epoch's loss is left, at least this accuracy reached


def main() -> int:
    """Train what has no row yet; return whether something was wrong."""
    begin, args, rows = time.monotonic(), arguments(__doc__ or ""), Rows("train")
    epochs = 1 if args.rehearse else EPOCHS
    wanted = [(words, dtype) for words in ([SMALL] if args.rehearse else NETWORKS) for dtype in TYPES]
    trainings = {}
    for words, dtype in wanted:
        model, *options = words.split()
        if not rows.holds(network=words, dtype=dtype, epochs=epochs):
            command = [model, *(["--options", *options] if options else []), "--dtype", dtype, "--epochs", str(epochs)]
            training = Training(f"{model}_{dtype}", (*command, "--batch-size", str(BATCH), "--lr", "3e-3"))
            trainings[training.name] = training, words, dtype
    print(f"train: {len(trainings)} trainings of {epochs} epochs")
    jobs = 1 if args.rehearse else max(2, min(8, (os.cpu_count() or 2) // 2))
    curves: dict[str, list] = {name: [] for name in trainings}
    wrong = 0
    todo = [training for training, *_ in trainings.values()]
    for training, said in train(todo, jobs, begin + args.seconds - 10):
        if isinstance(said, dict):
            curves[training.name].append(said)
            continue
        _, words, dtype = trainings[training.name]
        curve = curves[training.name]
        first, last = (curve[i]["train_loss"] if curve else math.nan for i in (0, -1))
        accuracy = curve[-1]["val_accuracy"] if curve else math.nan
        note = "" if len(curve) == epochs else f"status {said} after {len(curve)} of {epochs} epochs"
        right = not note and math.isfinite(last) and (args.rehearse or (last <= FALL * first and accuracy >= ACCURACY))
        wrong += not right
        row = {"network": words, "dtype": dtype, "data": "mnist5k", "epochs": epochs, "batch": BATCH}
        rows.add({**row, "first_loss": first, "last_loss": last, "accuracy": accuracy, "right": right, "note": note})
        words = words if right else f"WRONG {words}"
        print(f"{words:40} {dtype:9} loss {first:.3f} to {last:.3f}, accuracy {accuracy:.2%} {note}")
    print(f"train: {len(trainings) - wrong} of {len(trainings)} right, {time.monotonic() - begin:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
