"""Does decoding keep up with training? A stream of ImageNet-sized JPEGs beside the training step that consumes it.

Question   How many images a second does one core decode and crop? What does draft mode save (a JPEG decoded at 1/2, 1/4
           or 1/8)? Are threads as fast as worker processes? What does augmentation on the device cost?
Method     Synthetic 500x375 JPEGs of 133 kB (1/f noise, quality 91), in memory. Figures are images per second of
           processor time, which other processes disturb least, and per second of wall time. `foreign_cores` says how
           many cores other processes kept busy; with much of it only the processor time is meaningful.
Command    python studies/data_speed.py
Hardware   Any; four minutes on two CPU cores that others used too.
Result     studies/results/data_speed.csv, measured while others kept 1.8 of the two cores busy. One core decodes and
           crops 554 images a second to 224 and takes 9.2 through MobileNet V1's step: 2 % of the step. An accelerator
           that trains thousands of images a second needs as many cores as 500 goes into that. Draft mode changes the
           speed by a factor of 0.97 at 224, 1.1 at 160 and 128, 1.2 at 64 (and 1.3 at 224 from 1600x1200 pixels).
           Threads (430) are as fast as one or two processes (416, 361). RandAugment takes 0.4 ms an image at 224.
"""

import contextlib
import csv
import dataclasses
import io
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image
from rich.console import Console
from rich.table import Table

from jsep.data import IMAGENET_MEAN, IMAGENET_STD, Augmentation, StreamFeed, augment
from jsep.data.decode import evaluation_view, random_resized_crop
from jsep.data.example import Classified
from jsep.models import create_model
from jsep.train import Recipe
from jsep.train.parallel import AXIS, Devices
from jsep.train.state import create_state
from jsep.train.step import make_train_step

RESULTS = Path(__file__).parent / "results" / "data_speed.csv"
PICTURES, BATCH, BATCHES, ROUNDS = 128, 32, 12, 3
TICK = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Row:
    """Images per second of processor time (0 where that means nothing) and of wall time."""

    what: str
    size: int
    how: str
    per_cpu_second: float
    per_second: float
    foreign_cores: float
    cores: int


def jpegs() -> list[dict[str, Any]]:
    """Return records of 500x375 pictures of noise whose amplitude falls with frequency, as in photographs."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(375)[:, None], np.fft.fftfreq(500)) + 1 / 500
    records = []
    for i in range(PICTURES):
        noise = np.fft.fft2(rng.normal(size=(375, 500, 3)), axes=(0, 1))
        field = np.fft.ifft2(noise / frequency[..., None], axes=(0, 1)).real
        pixels = np.clip(128 + 48 * (field - field.mean()) / field.std(), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=91)
        records.append({"image": file.getvalue(), "label": i % 10})
    return records


@contextlib.contextmanager
def measured(what: str, size: int, how: str, images: int, rows: list[Row]) -> Iterator[None]:
    """Append a row with the speed of the block."""
    start, own, busy = time.perf_counter(), cpu_seconds(), busy_seconds()
    yield
    wall, own, busy = time.perf_counter() - start, cpu_seconds() - own, busy_seconds() - busy
    foreign = max(0.0, busy - own) / wall
    rows.append(Row(what, size, how, images / own, images / wall, foreign, os.cpu_count() or 1))


def cpu_seconds() -> float:
    """Return the processor time of this process and its workers in seconds."""
    children = [Path(f"/proc/{child.pid}/stat").read_text() for child in multiprocessing.active_children()]
    ticks = sum(int(field) for stat in children for field in stat.rpartition(")")[2].split()[11:13])
    return time.process_time() + ticks / TICK


def busy_seconds() -> float:
    """Return the busy time of all cores since the machine started in seconds."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


def decoding(records: list[dict[str, Any]], rows: list[Row]) -> None:
    """Decode one image after the other in one thread; contenders take turns, and the best round of each counts."""
    for size in (224, 160, 128, 64):
        contenders: dict[str, Callable[[bytes, np.random.Generator], Any]] = {
            "random crop": lambda image, rng, size=size: random_resized_crop(image, size, 3, rng, draft=False),
            "random crop, draft": lambda image, rng, size=size: random_resized_crop(image, size, 3, rng),
            "centre crop": lambda image, rng, size=size: evaluation_view(image, size, 3),
        }
        found: dict[str, list[Row]] = {how: [] for how in contenders}
        for _ in range(ROUNDS):
            for how, run in contenders.items():
                rng = np.random.default_rng(0)
                with measured("decode", size, how, len(records), found[how]):
                    for record in records:
                        run(record["image"], rng)
        rows += [max(tries, key=lambda row: row.per_cpu_second) for tries in found.values()]


def streaming(records: Any, rows: list[Row]) -> None:
    """Read batches like training does, without the first ones, which wait for workers to start."""
    for workers in (0, 1, 2):
        feed = StreamFeed(records, Classified((224, 224, 3), crops=True), workers)
        how = f"{workers} workers" if workers else f"{min(16, os.cpu_count() or 1)} threads"
        with contextlib.closing(feed.training(BATCH, 0, 0)) as batches:
            for _ in range(2 * (workers or 1) + 2):
                next(batches)
            with measured("stream", 224, how, BATCH * BATCHES, rows):
                for _ in range(BATCHES):
                    next(batches)


def training(rows: list[Row]) -> None:
    """Run the training step of MobileNet V1 at 224 on random images that are already on the device."""
    model = create_model("mobilenet_v1", axis_name=AXIS)
    optimizer, devices = optax.sgd(0.1), Devices(1)
    statistics = (IMAGENET_MEAN, IMAGENET_STD)
    step = make_train_step(
        model,
        optimizer,
        StreamFeed.fetch,
        statistics,
        Recipe(),
        axis_name=AXIS,
        steps_per_epoch=100,
    )
    state = devices.replicate(create_state(model, optimizer, (224, 224, 3), 0))
    batch = (random_images(BATCH, 224), np.zeros(BATCH, np.int32))
    constants = (StreamFeed.constants, None)
    run = devices.train_step(step, state, constants, batch)
    state, loss = run(state, constants, batch)
    with measured("training step", 224, "mobilenet_v1", BATCH * ROUNDS, rows):
        for _ in range(ROUNDS):
            state, loss = run(state, constants, batch)
        loss.block_until_ready()


def augmenting(rows: list[Row]) -> None:
    """Run each augmentation by itself, compiled, on this device."""
    each = {
        "crop, flip": Augmentation(crop=4, flip=True),
        "resized crop": Augmentation(resized_crop=True),
        "jitter 0.4": Augmentation(jitter=0.4),
        "randaugment 2 9": Augmentation(randaugment=(2, 9)),
        "erase 0.25": Augmentation(erase=0.25),
    }
    for size, number in ((32, 256), (224, 32)):
        images, places = jnp.asarray(random_images(number, size)), jnp.arange(number)
        for how, augmentation in each.items():
            run = jax.jit(partial(augment, how=augmentation))
            run(jax.random.key(0), images, places).block_until_ready()
            with measured("augmentation", size, how, number * 4, rows):
                for i in range(4):
                    run(jax.random.key(i), images, places).block_until_ready()


def random_images(number: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, size, size, 3), np.uint8)


def main() -> None:
    """Measure, print, and write the csv."""
    console, rows = Console(width=110, highlight=False), []
    records = jpegs()
    console.print(f"{len(records)} JPEGs of {np.mean([len(r['image']) for r in records]) / 1000:.0f} kB on average")
    decoding(records, rows)
    streaming(records, rows)
    training(rows)
    augmenting(rows)
    table = Table("", "size", "how", box=None, pad_edge=False)
    for heading in ("images / processor s", "images / s", "foreign cores"):
        table.add_column(heading, justify="right")
    for row in rows:
        numbers = (f"{row.per_cpu_second:,.1f}", f"{row.per_second:,.1f}", f"{row.foreign_cores:.1f}")
        table.add_row(row.what, str(row.size), row.how, *numbers)
    console.print(table)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)


if __name__ == "__main__":
    main()
