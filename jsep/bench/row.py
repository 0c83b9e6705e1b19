"""The rows of bench.csv."""

from dataclasses import dataclass

BUSY = 0.1  # fraction of the cores that other processes may use before figures count as disturbed


@dataclass(frozen=True)
class BenchRow:
    """The measurement of one contender in one case. A figure that was not measured is None, and `note` says why.

    Attributes:
        case: the case in words.
        contender: "jsep", "xla", "torch", "torch.compile" or "jsep.plain".
        task: "train" or "infer", see `Case`.
        model: registered name of the network; empty for a convolution.
        options: options of the network in text form.
        op: the convolution; empty for a network.
        kernel_size: side of the convolution's kernel.
        stride: stride of the convolution.
        features: channels of the convolution's output.
        batch_size: images per iteration.
        input_shape: height, width and channels of the input, such as "32x32x3".
        dtype: type of the computation.
        rounds: how often the contenders took turns.
        iterations: measurements per turn, each of one call, or of as many as take 20 milliseconds.
        ms: median of all iterations, in milliseconds.
        ms_p10: 10th percentile, in milliseconds.
        ms_p90: 90th percentile, in milliseconds.
        ratio: time relative to jsep's: the ratio of the medians of a round, and of these ratios the median.
        images_per_second: throughput of a network.
        gflops: 2 FLOPs per MAC and second, in 1e9; a training step counts as three forward passes.
        matmul_gflops: GFLOP/s of a product of 1024x1024 matrices in the same run.
        compile_seconds: seconds of compilation.
        first_call_seconds: seconds of the first call.
        peak_mb: peak memory of the process in MiB, including compilation.
        running_mb: peak memory of the process in MiB during the iterations, without what compilation left on the heap;
            empty on systems other than Linux with the GNU C library.
        foreign_cores: lower bound of the cores that other processes kept busy. Taking turns does not make up for them:
            PyTorch's threads wait for each other at every operation, so a busy machine slows it more than it slows JAX.
        macs: multiply-accumulates of a forward pass of the whole batch.
        device: name of the device.
        processor: name of the CPU.
        cores: number of CPU cores.
        jax: version of JAX.
        torch: version of PyTorch; empty for other contenders.
        native: set of instructions of the native kernels that the contender could use; empty without any.
        python: version of Python.
        date: date and time in UTC.
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
    running_mb: float | None
    foreign_cores: float | None
    macs: int
    device: str
    processor: str
    cores: int
    jax: str
    torch: str
    native: str
    python: str
    date: str
    note: str

    @property
    def disturbed(self) -> bool:
        """Whether other processes used so much of the machine that the figures cannot be trusted."""
        return (self.foreign_cores or 0.0) > BUSY * self.cores
