"""State dicts from disk. Nothing is ever unpickled but tensors."""
# torch is an extra, and not where types are checked
# pyright: reportMissingImports=false

from pathlib import Path
from typing import Any

import numpy as np

from jsep.errors import UserError


def read_state(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .safetensors file, or of a .pth file (needs torch), by PyTorch's names.

    Raises:
        UserError: no such file, not such a file, or one that holds more than tensors.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file: give a .safetensors or .pth file of weights")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pth", ".pt", ".th", ".tar"):
        return _read_torch(path)
    raise UserError(f"{path}: weights come as .safetensors or .pth, not as {path.suffix or 'a file without an ending'}")


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
            f"Reading {path.name} needs torch: pip install torch, or convert the file to .safetensors where torch is"
        ) from error
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)  # tensors only, no code is run
    except Exception as error:  # torch raises what pickle, zip and the file system raise
        raise UserError(
            f"{path} cannot be read as a file of tensors alone, and nothing else is read ({type(error).__name__}): "
            "have whoever made it save its state_dict()"
        ) from error
    for key in ("state_dict", "model"):
        found = found[key] if isinstance(found, dict) and isinstance(found.get(key), dict) else found
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise UserError(f"{path} holds no state dict: it must map names to tensors")
    return {name: tensor.float().numpy() for name, tensor in found.items()}
