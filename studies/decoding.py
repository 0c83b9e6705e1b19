"""How many pictures does a core decode, crop and scale in a second, beside Pillow alone and torchvision?

Question   What does it save to decode only the rows that a random resized crop needs, and to scale by SIMD? What does a
           set prepared with `jsep data prepare --short-side 320` save? How much memory does a stream take?
Method     JPEGs of 500x375 (quality 90, 4:2:0), cut from the pictures of a prepared TFDS set or made of noise whose
           amplitude falls with frequency. Contenders take turns on one pinned core, each on all pictures. Figures are
           medians of 9 rounds, in images per second of processor time. `before` is what jsep did by Pillow alone. The
           memory is the peak of a process that streams 12 batches of 64 by two threads, less that of the same process
           before; the median of 7 processes, which differ by 20 MB.
Command    python studies/decoding.py [PREPARED_TFDS_DIRECTORY]
Hardware   Any; two minutes on a CPU core.
Result     studies/results/decoding.csv, of photographs (53 kB), measured beside other processes. jsep decodes and crops
           1,096 images a second, Pillow alone 524 (a ratio of 2.1) and torchvision 761 (1.4). From the set with a
           shorter side of 320 it is 1,400 (2.7). With noise (88 kB) these are 859, 472, 621 and 1,237. A stream takes
           no more memory than before. About half of what remains is entropy decoding. Restart markers in the smaller
           set, by which JPEGs can be cut before they are decoded, would save another tenth; they were left out.
"""

import contextlib
import csv
import io
import itertools
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from jsep.data import StreamFeed, decode, example
from jsep.data.shrink import shrunk

RESULTS = Path(__file__).parent / "results" / "decoding.csv"
WIDTH, HEIGHT, SIZE, PICTURES, ROUNDS, PROCESSES = 500, 375, 224, 64, 9, 7


def pictures(folder: str) -> list[bytes]:
    """Return JPEGs of 500x375, of the pictures of a prepared set or of noise."""
    if not folder:
        return [jpeg(noise(seed)) for seed in range(PICTURES)]
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder_from_directory(folder)
    records = builder.as_data_source(next(iter(builder.info.splits)), decoders={"image": tfds.decode.SkipDecoding()})
    return [jpeg(filled(records[i]["image"])) for i in range(min(PICTURES, len(records)))]


def noise(seed: int) -> Image.Image:
    """Return noise with the spectrum of a photograph."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.fftfreq(WIDTH)) + 1 / WIDTH
    waves = np.fft.fft2(np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH, 3)), axes=(0, 1))
    field = np.fft.ifft2(waves / frequency[..., None] ** 1.3, axes=(0, 1)).real
    return Image.fromarray(np.clip(128 + 48 * (field - field.mean()) / field.std(), 0, 255).astype(np.uint8))


def filled(encoded: bytes) -> Image.Image:
    """Return a picture scaled and cut to 500x375."""
    picture = Image.open(io.BytesIO(encoded)).convert("RGB")
    scale = max(WIDTH / picture.width, HEIGHT / picture.height)
    wide, high = round(picture.width * scale), round(picture.height * scale)
    return picture.resize((wide, high), Image.Resampling.BICUBIC).crop((0, 0, WIDTH, HEIGHT))


def jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def before(encoded: bytes, size: int, channels: int, rng: np.random.Generator, *_: Any) -> np.ndarray:
    """Decode, cut and scale by Pillow, as jsep 0.1 did with an upright picture that is too small for a draft."""
    with Image.open(io.BytesIO(encoded)) as picture:
        picture.getexif()
        left, top, width, height = decode._window(*picture.size, rng)
        cut = picture.crop((left, top, left + width, top + height))
        return np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR))


def contenders(originals: list[bytes], resized: list[bytes]) -> dict[str, tuple[Callable[[bytes], Any], list[bytes]]]:
    """Return what is measured: a function of one encoded picture, and the pictures."""
    rng = np.random.default_rng(0)
    found: dict[str, tuple[Callable[[bytes], Any], list[bytes]]] = {
        "before": (lambda encoded: before(encoded, SIZE, 3, rng), originals),
        "now": (lambda encoded: decode.random_resized_crop(encoded, SIZE, 3, rng), originals),
        "now, from the 320 set": (lambda encoded: decode.random_resized_crop(encoded, SIZE, 3, rng), resized),
    }
    with contextlib.suppress(ImportError):
        import torch
        from torchvision.io import decode_jpeg
        from torchvision.transforms import v2

        torch.set_num_threads(1)
        crop = v2.RandomResizedCrop(SIZE, antialias=True)

        def by_torchvision(encoded: bytes) -> Any:
            return crop(decode_jpeg(torch.frombuffer(bytearray(encoded), dtype=torch.uint8)))

        found["torchvision, decode_jpeg"] = by_torchvision, originals
        found["torchvision, PIL"] = (
            lambda encoded: v2.functional.pil_to_tensor(crop(Image.open(io.BytesIO(encoded)).convert("RGB"))),
            originals,
        )
    return found


def rates(measured: dict[str, tuple[Callable[[bytes], Any], list[bytes]]]) -> dict[str, float]:
    """Return images per second of processor time."""
    seconds: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(ROUNDS):
        for name, (run, encoded) in measured.items():
            start = time.process_time()
            for one in encoded:
                run(one)
            seconds[name].append((time.process_time() - start) / len(encoded))
    return {name: 1 / statistics.median(tries) for name, tries in seconds.items()}


def peak(old: bool, encoded: list[bytes], found: Any) -> None:
    """Put the bytes that streaming adds to the peak of this process."""
    if old:
        example.random_resized_crop = before
    records: Any = [{"image": one, "label": 0, "place": ""} for one in encoded] * 4
    stream = StreamFeed(records, example.Classified((SIZE, SIZE, 3), crops=True))
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.closing(stream.training(64, 0, 0)) as batches:
        for _ in itertools.islice(batches, 12):
            pass
    found.put(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - own))


def memory(encoded: list[bytes]) -> dict[str, float]:
    """Return the bytes that a stream takes, before and now."""
    start = multiprocessing.get_context("spawn")
    found: dict[str, list[int]] = {"before": [], "now": []}
    for name, sizes in [*found.items()] * PROCESSES:
        queue = start.Queue()
        process = start.Process(target=peak, args=(name == "before", encoded, queue))
        process.start()
        sizes.append(queue.get())
        process.join()
    return {name: statistics.median(sizes) for name, sizes in found.items()}


def main() -> None:
    """Measure, print, and write the csv."""
    console = Console(width=110, highlight=False)
    originals = pictures(*sys.argv[1:2] or [""])
    resized = [shrunk(one, 320, 90) for one in originals]
    streams = memory(originals)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for name, encoded in (("originals", originals), ("320 set", resized)):
        console.print(f"{name}: {len(encoded)} JPEGs of {np.mean([len(one) for one in encoded]) / 1000:.0f} kB")
    found = rates(contenders(originals, resized))
    table = Table("", box=None, pad_edge=False)
    for heading in ("images / core s", "to before"):
        table.add_column(heading, justify="right")
    for name, rate in found.items():
        table.add_row(name, f"{rate:,.0f}", f"{rate / found['before']:.2f}")
    console.print(table)
    for name, size in streams.items():
        console.print(f"memory of a stream, {name}: {size / 1e6:.0f} MB")
    with RESULTS.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("contender", "images_per_core_second", "to_before"))
        writer.writerows((name, round(rate, 1), round(rate / found["before"], 3)) for name, rate in found.items())


if __name__ == "__main__":
    main()
