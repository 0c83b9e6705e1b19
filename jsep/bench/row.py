"""A measurement: one row of bench.csv."""

from dataclasses import dataclass

BUSY = 0.1  # share of the cores that others may take before figures are called disturbed


@dataclass(frozen=True)
class BenchRow:
    """One contender at one case: a row of bench.csv. A figure that was not measured is None, and `note` says why.

    Attributes:
        case: the case in words.
        contender: jsep, xla, torch or torch.compile.
        task, model, options, op, kernel_size, stride, features, batch_size, input_shape, dtype: the case, see `Case`.
        rounds, iterations: how often contenders took turns, and how many times each measured in a turn.
        ms, ms_p10, ms_p90: median, 10th and 90th percentile of all iterations, in milliseconds.
        ratio: time over jsep's: the median over the rounds of the ratio of their medians.
        images_per_second: images through a network.
        gflops: 2 * MACs a second (three times as many for training), in 1e9.
        matmul_gflops: the same of a 1024x1024 product in this run.
        compile_seconds, first_call_seconds: time of compilation, and of the first call.
        peak_mb: largest memory of the process, compilation included.
        foreign_cores: cores that other processes kept busy, at least. Taking turns does not even that out: PyTorch's
            threads wait for each other at every operation, so a busy neighbour slows it far more than it slows us.
        macs: multiply-accumulates of the whole batch.
        device, processor, cores, jax, torch, python, date: where and when it was measured.
        note: why figures are missing.
    """

    case: str
    contender: str
    task: str
    model: str
    options: str
    op: str
    kernel_size: int
    stride: int
    features: int
    batch_size: int
    input_shape: str
    dtype: str
    rounds: int
    iterations: int
    ms: float | None
    ms_p10: float | None
    ms_p90: float | None
    ratio: float | None
    images_per_second: float | None
    gflops: float | None
    matmul_gflops: float | None
    compile_seconds: float | None
    first_call_seconds: float | None
    peak_mb: float | None
    foreign_cores: float | None
    macs: int
    device: str
    processor: str
    cores: int
    jax: str
    torch: str
    python: str
    date: str
    note: str

    @property
    def disturbed(self) -> bool:
        """Whether other processes took so much of the machine that the figures are not to be trusted."""
        return (self.foreign_cores or 0.0) > BUSY * self.cores
