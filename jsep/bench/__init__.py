"""Benchmarks of training, inference and single convolutions against plain Flax and PyTorch, interleaved in one run."""

from jsep.bench.config import BenchConfig
from jsep.bench.plain import plain_convolutions
from jsep.bench.row import BenchRow
from jsep.bench.run import bench

__all__ = ["BenchConfig", "BenchRow", "bench", "plain_convolutions"]
