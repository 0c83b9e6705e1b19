"""The contenders torch and torch.compile, in channels_last. Like JAX, they run on the GPU if there is one."""
# torch is an extra, and not installed where types are checked
# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from jsep.bench.case import Case
from jsep.bench.torch_models import Segmenter, SSDLite, twin

OBJECTS = 8  # of each image, as many as jsep's
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def build(case: Case, contender: str, params: int) -> tuple[Callable[[], Any], float, str]:
    """Build a case.

    Args:
        case: the case.
        contender: "torch" or "torch.compile".
        params: number of parameters that the network must have.

    Returns:
        A function that runs one iteration to its end, the seconds of compilation so far (none), and the name of the
        device.

    Raises:
        LookupError: PyTorch has no such network.
    """
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = (case.batch_size, case.input_shape[2], *case.input_shape[:2])
    x = torch.randn(shape, device=device).to(memory_format=torch.channels_last)
    compiled = torch.compile if contender == "torch.compile" else lambda function: function
    iterate = _operation(case, x, compiled) if case.op else _model(case, x, params, compiled)

    def run() -> None:
        iterate()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run, 0.0, torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


def _operation(case: Case, x: Tensor, compiled: Callable) -> Callable[[], Any]:
    size, stride, channels = case.kernel_size, case.stride, case.input_shape[-1]
    groups = channels if case.op == "depthwise" else 1
    x = x.to(DTYPES[case.dtype])
    kernel = torch.randn(case.features, channels // groups, size, size, device=x.device, dtype=x.dtype)
    kernel = kernel.to(memory_format=torch.channels_last)

    @compiled
    def forward(x: Tensor, kernel: Tensor) -> Tensor:
        return F.conv2d(x, kernel, None, stride, size // 2, 1, groups)

    def infer() -> Tensor:
        with torch.inference_mode():
            return forward(x, kernel)

    if case.task == "infer":
        return infer
    g = torch.randn_like(forward(x, kernel))
    x.requires_grad_()
    kernel.requires_grad_()
    return lambda: torch.autograd.grad(forward(x, kernel), (x, kernel), g)


def _model(case: Case, x: Tensor, params: int, compiled: Callable) -> Callable[[], Any]:
    network = twin(case.model, case.num_classes, params, **case.options).to(x.device)
    model = compiled(network)
    autocast = torch.autocast(x.device.type, torch.bfloat16, enabled=case.dtype == "bfloat16")

    def infer() -> Any:
        with torch.inference_mode(), autocast:
            output = model(x)
            if isinstance(network, SSDLite):
                return network.detect(output)
            return output.argmax(1) if isinstance(network, Segmenter) else output

    if case.task == "infer":
        network.eval()
        return infer
    loss_of = _loss(network, case, x.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def train() -> None:
        optimizer.zero_grad()
        with autocast:
            loss = loss_of(model(x))
        loss.backward()
        optimizer.step()

    return train


def _loss(network: nn.Module, case: Case, device: torch.device) -> Callable[[Any], Tensor]:
    """Return the loss of a network's output beside random labels, objects or masks."""
    number, (height, width, _) = case.batch_size, case.input_shape
    if isinstance(network, SSDLite):
        sides = torch.tensor([width, height], device=device)
        corner, side = (0.5 * torch.rand(number, OBJECTS, 2, device=device) for _ in range(2))
        boxes = torch.cat([corner, corner + side.clamp(min=0.05)], 2) * sides.repeat(2)
        labels = torch.randint(1, case.num_classes, (number, OBJECTS), device=device)
        targets = [{"boxes": own, "labels": classes} for own, classes in zip(boxes, labels, strict=True)]
        return lambda answers: network.loss(answers, targets)
    shape = (number, height, width) if isinstance(network, Segmenter) else (number,)
    labels = torch.randint(case.num_classes, shape, device=device)
    return lambda logits: F.cross_entropy(logits, labels)
