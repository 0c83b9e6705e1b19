"""The regular, the half and the wholly separable CNN at full width, as many of their 150 epochs as fit.

The recipe is that of experiments/depthwise_separable_cnn.py as published: Adam at a constant 1e-4, batch 256, images
divided by 255, no augmentation; in bfloat16. The three run at the same time on one card, so that their seconds are no
measure of one alone. As the learning rate is constant, a row of any epoch is one of a training of that length.
"""

import os
import sys
import time
from pathlib import Path

from machine import Rows, arguments
from trainings import Training, train

NETWORKS = ("regular_cnn", "both_cnn", "separable_cnn")
EPOCHS, SEED, DTYPE = 150, 0, "bfloat16"


def main() -> int:
    """Train until the time is over; continue run folders that are there."""
    begin, args, rows = time.monotonic(), arguments(__doc__ or ""), Rows("tables")
    data = os.environ.get("CIFAR10", "")
    if data and not Path(data, "dataset_info.json").exists():
        print(f"CIFAR10={data} is no prepared TFDS folder: the embedded digits instead")
        data = ""
    elif not data:
        print("CIFAR10 names no prepared TFDS folder: the embedded digits instead")
    data = "" if args.rehearse else data
    name = Path(data).parent.name if data else "mnist5k"
    epochs = 1 if args.rehearse else EPOCHS
    words = ["--epochs", str(epochs), "--batch-size", "256", "--lr", "1e-4", "--schedule", "constant"]
    words += ["--normalize", "unit", "--dtype", DTYPE, "--seed", str(SEED), "--keep", "1", "--data", data or "mnist5k"]
    width = ["--options", "width=0.0625"] if args.rehearse else []
    trainings = [Training(f"{name}_{network}", (network, *width, *words)) for network in NETWORKS]
    trainings = trainings[2:] if args.rehearse else trainings
    networks = {training.name: training.words[0] for training in trainings}
    table: dict[str, dict[int, float]] = {network: {} for network in networks.values()}
    wrong = 0
    for training, said in train(trainings, len(trainings), begin + args.seconds - 10):
        network = networks[training.name]
        if isinstance(said, int):
            reached = max(table[network], default=0)
            print(f"{network}: ended with status {said} after epoch {reached} of {epochs}")
            wrong += not reached
            continue
        epoch, accuracy = said["epoch"], said["val_accuracy"]
        table[network][epoch] = accuracy
        row = {"network": network, "data": name, "dtype": DTYPE, "seed": SEED, "batch": 256, "epoch": epoch}
        if not rows.holds(**row):
            losses = {key: said[key] for key in ("train_loss", "train_accuracy", "val_loss", "seconds")}
            rows.add({**row, "accuracy": accuracy, **losses, "together": len(trainings), "note": ""})
            print(f"{network:15} epoch {epoch:3} accuracy {accuracy:.2%}, loss {said['train_loss']:.4f}")
    common = min((max(curve, default=0) for curve in table.values()), default=0)
    for network, curve in table.items():
        if common and curve:
            print(
                f"{network:15} {name}: {curve[common]:.2%} after {common} epochs as all have, "
                f"{curve[max(curve)]:.2%} after {max(curve)}, best {max(curve.values()):.2%}"
            )
    print(f"tables: {time.monotonic() - begin:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
