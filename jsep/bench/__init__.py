"""Training steps, inference and single operations beside plain Flax and PyTorch, interleaved in one run."""

from jsep.bench.config import BenchConfig
from jsep.bench.plain import plain_convolutions
from jsep.bench.run import Row, bench

__all__ = ["BenchConfig", "Row", "bench", "plain_convolutions"]
