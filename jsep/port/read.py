"""Reading PyTorch state dicts from files. Nothing but tensors is ever unpickled."""
# torch is an extra, and not where types are checked
# pyright: reportMissingImports=false

from pathlib import Path
from typing import Any

import numpy as np

from jsep.errors import UserError


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Read the state dict of a PyTorch network.

    Args:
        path: a .safetensors file, or a .pth, .pt, .th or .tar file of `torch.save`, which takes torch to read.

    Returns:
        The arrays by PyTorch's names; those of `torch.save` in float32.

    Raises:
        UserError: there is no such file, it cannot be read, or it holds more than tensors.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file: give a .safetensors or .pth file of weights")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pth", ".pt", ".th", ".tar"):
        return _read_torch(path)
    kind = f"a {path.suffix} file" if path.suffix else "a file without a suffix"
    raise UserError(f"{path} is {kind}: give a .safetensors or .pth file of weights")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error}): download it again") from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"Reading {path.name} needs torch: pip install torch, or convert the file to .safetensors elsewhere"
        ) from error
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)  # tensors only, no code is run
    except Exception as error:  # torch raises what pickle, zip and the file system raise
        raise UserError(
            f"{path} cannot be read as a file of nothing but tensors ({type(error).__name__}), and nothing else is "
            "unpickled: save the state_dict() of the network"
        ) from error
    for key in ("state_dict", "model"):
        found = found[key] if isinstance(found, dict) and isinstance(found.get(key), dict) else found
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise UserError(f"{path} does not hold a state dict: it must map names to tensors")
    return {name: tensor.float().numpy() for name, tensor in found.items()}
