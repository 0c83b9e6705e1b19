"""The same recipe in jsep and in PyTorch: do networks reach the same accuracy?

Question   ResNet-20 (projection) and MobileNet V1 x0.25 trained by one recipe in both, several seeds each. Where they
           differ: which of PyTorch's conventions makes the difference?
Method     SGD 0.1 with Nesterov momentum, cosine, weight decay 5e-4, crop and flip, batch 128. PyTorch's side is
           written here as a PyTorch user would, and follows jsep's conventions one at a time (--like).
Command    python studies/pytorch_training.py PATH/cifar10_lossless5k/1.0.0 --seeds 0 1 2
Hardware   Any; on two CPU cores ResNet-20 takes 2 to 4 minutes a run on 4,000 images, 40 epochs.
Result     studies/results/pytorch_training.csv
"""
# PyTorch is an extra, and not installed where types are checked
# pyright: reportMissingImports=false

import csv
import dataclasses
import datetime
import math
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from rich.console import Console

from jsep.data import Augmentation, Data, Dataset, Split, load_choice
from jsep.runs.folder import RunFolder
from jsep.runs.training import train
from jsep.train import Optimizer, Recipe, RunConfig, Schedule

RESULTS = Path(__file__).parent / "results" / "pytorch_training.csv"
NETWORKS = {
    "resnet20": {"shortcut": "projection"},
    "mobilenet_v1": {"width": 0.25, "input": "cifar"},
}
Convention = Literal["init", "drop_last", "black"]
CROP, BATCH, RATE, MOMENTUM, DECAY = 4, 128, 0.1, 0.9, 5e-4


@dataclasses.dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        network: registered name.
        options: its options.
        by: jsep or torch.
        like: conventions of jsep that PyTorch's side follows.
        seed: seed.
        data: data set.
        epochs: passes over the training images.
        accuracy: after the last epoch, from 0 to 1.
        loss: after the last epoch, in nats.
        train_loss: mean of the last epoch, in nats.
        seconds: of the whole run.
        date: day of the run.
    """

    network: str
    options: str
    by: str
    like: str
    seed: int
    data: str
    epochs: int
    accuracy: float
    loss: float
    train_loss: float
    seconds: float
    date: str


def by_jsep(network: str, choice: Data, dataset: Dataset, epochs: int, seed: int) -> tuple[float, float, float]:
    """Train by jsep, and return accuracy, loss and training loss."""
    recipe = Recipe(
        choice,
        Augmentation(crop=CROP, flip=True),
        Optimizer("sgd", momentum=MOMENTUM, weight_decay=DECAY),
        Schedule("cosine", lr=RATE, epochs=epochs),
        batch_size=BATCH,
        seed=seed,
    )
    config = RunConfig(network, NETWORKS[network], recipe)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        result = train(config, out, console=Console(quiet=True), dataset=dataset)
        last = RunFolder.open(out).metrics()[-1]
    return result.accuracy, result.loss, last["train_loss"]


def by_torch(network: str, dataset: Dataset, epochs: int, seed: int, like: set[str]) -> tuple[float, float, float]:
    """Train by PyTorch, and return accuracy, loss and training loss."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = _network(network, len(dataset.class_names))
    if "init" in like:
        _initialise_as_jsep(model, he=network == "resnet20")
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, weight_decay=DECAY, nesterov=True)
    train_part, test_part = dataset.train, dataset.test
    assert isinstance(train_part, Split)
    assert isinstance(test_part, Split)
    mean, std = (np.asarray(value, np.float32) for value in (dataset.mean, dataset.std))
    size, drop, black = len(train_part), "drop_last" in like, "black" in like
    steps = size // BATCH if drop else -(-size // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    found = 0.0
    for _ in range(epochs):
        model.train()
        order, total = random.permutation(size), 0.0
        for step in range(steps):
            rows = order[step * BATCH : (step + 1) * BATCH]
            images = train_part.images[rows].astype(np.float32) / 255
            if not black:
                images = (images - mean) / std
            x = _cropped(images, random)
            if black:
                x = (x - mean) / std
            loss = cross_entropy(model(_nchw(x)), torch.from_numpy(train_part.labels[rows]).long())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() / steps
        found = total
    model.eval()
    with torch.no_grad():
        x = (test_part.images.astype(np.float32) / 255 - mean) / std
        logits = torch.cat([model(_nchw(x[start : start + 500])) for start in range(0, len(x), 500)])
        labels = torch.from_numpy(test_part.labels).long()
        return float((logits.argmax(1) == labels).float().mean()), float(cross_entropy(logits, labels)), found


def _cropped(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Pad with zeros, cut a window and flip, for each image by itself."""
    n, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (CROP, CROP), (CROP, CROP), (0, 0)))
    tops, lefts = random.integers(0, 2 * CROP + 1, (2, n))
    cut = [p[t : t + height, s : s + width] for p, t, s in zip(padded, tops, lefts, strict=True)]
    flips = random.random(n) < 0.5
    return np.stack([image[:, ::-1] if flip else image for image, flip in zip(cut, flips, strict=True)])


def _nchw(x: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(x)).permute(0, 3, 1, 2)


def _initialise_as_jsep(model: Any, he: bool) -> None:
    """Draw kernels with variance 2 / fan-in (He) or 1 / fan-in (LeCun), cut at two deviations as JAX does, biases 0."""
    import torch
    from torch import nn

    for layer in model.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        fan = layer.weight[0].numel()
        gain = 2 if he and isinstance(layer, nn.Conv2d) else 1
        std = math.sqrt(gain / fan) / 0.87962566103423978  # deviation of a normal distribution cut at 2
        torch.nn.init.trunc_normal_(layer.weight, 0, std, -2 * std, 2 * std)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _network(name: str, classes: int) -> Any:
    from torch import nn

    from jsep.bench.torch_models import MobileNetV1

    if name == "mobilenet_v1":
        return MobileNetV1(classes, 0.25, 1)

    def conv_norm(inputs: int, outputs: int, size: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        return [conv, nn.BatchNorm2d(outputs)]

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int):
            super().__init__()
            stride = 1 if inputs == outputs else 2
            first, second = conv_norm(inputs, outputs, 3, stride), conv_norm(outputs, outputs, 3, 1)
            self.branch = nn.Sequential(*first, nn.ReLU(), *second)
            same = inputs == outputs
            self.shortcut = nn.Identity() if same else nn.Sequential(*conv_norm(inputs, outputs, 1, 2))

        def forward(self, x: Any) -> Any:
            return nn.functional.relu(self.branch(x) + self.shortcut(x))

    parts: list[nn.Module] = [*conv_norm(3, 16, 3, 1), nn.ReLU()]
    for inputs, outputs in ((16, 16), (16, 32), (32, 64)):
        parts += [Block(inputs, outputs), Block(outputs, outputs), Block(outputs, outputs)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


def main(
    data: tyro.conf.Positional[Path],
    /,
    networks: tuple[Literal["resnet20", "mobilenet_v1"], ...] = ("resnet20", "mobilenet_v1"),
    by: tuple[Literal["jsep", "torch"], ...] = ("jsep", "torch"),
    like: tuple[Convention, ...] = (),
    seeds: tuple[int, ...] = (0, 1, 2),
    epochs: int = 40,
    results: Path = RESULTS,
) -> None:
    """Train networks in jsep and in PyTorch, and append a row for each run.

    Args:
        data: prepared data set of small images.
        networks: what to train.
        by: with which library.
        like: conventions of jsep that PyTorch's side follows: init (initialisation), drop_last (no partial batch) or
            black (images padded before they are normalised).
        seeds: seeds.
        epochs: passes over the training images.
        results: the file of rows.
    """
    console = Console()
    choice = Data(str(data))
    dataset = load_choice(choice)
    for network in networks:
        for side in by:
            for seed in seeds:
                started = time.perf_counter()
                if side == "jsep":
                    found = by_jsep(network, choice, dataset, epochs, seed)
                else:
                    found = by_torch(network, dataset, epochs, seed, set(like))
                options = " ".join(f"{key}={value}" for key, value in NETWORKS[network].items())
                followed = " ".join(like) if side == "torch" else ""
                day = datetime.date.today().isoformat()
                spent = round(time.perf_counter() - started, 1)
                row = Row(network, options, side, followed, seed, dataset.name, epochs, *found, spent, day)
                _append(results, row)
                console.print(f"{network} {side} {followed} seed {seed}: {100 * row.accuracy:.1f} %, {spent:.0f} s")


def _append(file: Path, row: Row) -> None:
    new = not file.exists()
    with file.open("a", newline="") as opened:
        writer = csv.writer(opened)
        if new:
            writer.writerow([field.name for field in dataclasses.fields(Row)])
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in dataclasses.astuple(row)])


if __name__ == "__main__":
    tyro.cli(main)
