"""Description of the machine and of what is missing on it, and csv rows that hold it."""

import argparse
import csv
import datetime
import functools
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "torch", "torchvision", "timm", "triton")
NEEDED = {  # what each part imports; a part says itself what it does without
    "check": ("jax", "flax", "jaxtyping"),
    "bench": ("jax", "flax", "optax", "tyro", "matplotlib", "torch", "torchvision", "timm", "pytorchcv"),
    "train": ("jax", "flax", "optax", "orbax.checkpoint", "tyro", "tensorboardX", "rich", "matplotlib"),
    "tables": ("tensorflow_datasets", "array_record", "PIL"),
}


def arguments(doc: str) -> argparse.Namespace:
    """Return the arguments that every part has."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, help="seconds until the part ends itself")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, on the CPU")
    return parser.parse_args()


def folder(name: str) -> Path:
    """Return the folder that the variable OUT or WORK names."""
    path = Path(os.environ.get(name, "runs/gpu"))
    path.mkdir(parents=True, exist_ok=True)
    return path


@functools.cache
def card() -> tuple[str, str]:
    """Return the name of the first GPU and the version of its driver; empty without one."""
    if shutil.which("nvidia-smi") and os.environ.get("JAX_PLATFORMS") != "cpu":
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        found = subprocess.run(query, capture_output=True, text=True, timeout=60).stdout.strip()
        if ", " in found:
            name, driver = found.splitlines()[0].split(", ")[:2]
            return name, driver
    return "", ""


def version(package: str) -> str:
    """Return the version of an installed package, or nothing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


@functools.cache
def machine() -> dict[str, Any]:
    """Return the columns that describe the machine in every row."""
    name, driver = card()
    return {
        "card": name or "cpu",
        "driver": driver,
        "cores": os.cpu_count() or 0,
        **{package: version(package) for package in ("jax", "jaxlib", "flax", "torch")},
        "cudnn": version("nvidia-cudnn-cu13") or version("nvidia-cudnn-cu12"),
        "python": platform.python_version(),
        "commit": os.environ.get("COMMIT", ""),
    }


class Rows:
    """A csv file that grows by a row at a time, and knows what it holds from earlier tries."""

    def __init__(self, name: str):
        """Open `name`.csv in the folder OUT."""
        self.path = folder("OUT") / f"{name}.csv"
        self.rows: list[dict[str, Any]] = []
        if self.path.exists():
            with self.path.open(newline="") as file:
                self.rows = list(csv.DictReader(file))

    def matching(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return the rows of this card and JAX with these values and with a figure instead of a note, oldest first."""
        wanted |= {key: machine()[key] for key in ("card", "jax")}
        found = [row for row in self.rows if all(row.get(key) == str(value) for key, value in wanted.items())]
        return [row for row in found if not row.get("note")]

    def holds(self, **wanted: Any) -> bool:
        """Return whether there are such rows."""
        return bool(self.matching(**wanted))

    def add(self, values: Mapping[str, Any]) -> None:
        """Write a row at once; floats are rounded to six digits. The first row decides the columns."""
        row = {**values, **machine(), "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
        row = {key: f"{value:.6g}" if isinstance(value, float) else str(value) for key, value in row.items()}
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0] if self.rows else row), extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerow(row)
        self.rows.append(row)


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    for key, value in machine().items():
        print(f"{key:12} {value}")
    print("packages    ", ", ".join(f"{name} {version(name)}" for name in PACKAGES if version(name)))
    for part, modules in NEEDED.items():
        missing = [module for module in modules if not _found(module)]
        print(f"{part:12} {'misses ' + ', '.join(missing) if missing else 'has all that it imports'}")
