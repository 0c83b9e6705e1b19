"""From a file of PyTorch weights to a run folder."""

from pathlib import Path
from typing import Any, Literal

from jsep.models import model_info, parse_options
from jsep.port import from_torch, read_state
from jsep.train import RunConfig, adopt
from jsep.trees import flatten, save_arrays


def adopt_file(
    model: str,
    file: Path,
    out: Path,
    *,
    options: tuple[str, ...] = (),
    data: str | None = None,
    normalize: Literal["dataset", "unit", "imagenet"] | None = None,
) -> tuple[RunConfig, dict[str, Any]]:
    """Make a run folder of PyTorch's weights, and return its config and all arrays by our names.

    Args:
        model: registered name.
        file: .safetensors or .pth; see `jsep.port.read_state`.
        out: the new run folder; it holds the arrays as weights.safetensors, too.
        options: those of the network that the weights belong to.
        data: what the run is evaluated on; the data set of the published network unless said.
        normalize: what the network was fed; as published unless said.

    Raises:
        UserError: the file cannot be read, is not that network's, or `out` already holds a run.
    """
    home = model_info(model).normalization
    imagenet = home == "imagenet"
    variables = from_torch(model, read_state(file), **parse_options(options))
    config = RunConfig(
        model=model,
        options=options,
        data=data or ("imagenet2012" if imagenet else home),
        normalize=normalize or ("imagenet" if imagenet else "dataset"),
    )
    adopt(config, variables, out)
    save_arrays(out / "weights.safetensors", variables)
    return config, flatten(variables)
