"""Reading weights of PyTorch and Keras from files. Nothing but tensors and plain values is ever unpickled."""
# torch is an extra, and not where types are checked
# pyright: reportMissingImports=false

import argparse
import dataclasses
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from jsep.errors import UserError, typed
from jsep.files import local_path
from jsep.port.architectures import Origin, origin_of
from jsep.port.keras_files import SUFFIXES as KERAS_SUFFIXES
from jsep.port.keras_files import read_keras
from jsep.port.states import find_state, to_numpy
from jsep.trees import load_arrays

SUFFIXES = (".pth", ".pt", ".th", ".tar", ".ckpt", ".bin", ".pkl")  # of what torch.save writes


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights in a file.

    Attributes:
        state: arrays by PyTorch's names, without the prefixes of modules that wrap the network; those of Keras by names
            like PyTorch's, see `jsep.port.keras_files.read_keras`.
        origin: what the file says of the network.
        notes: sentences on what was taken from the file and what was left.
    """

    state: dict[str, np.ndarray]
    origin: Origin
    notes: tuple[str, ...]


@typed
def read_state(path: Path, *, average: bool = False) -> dict[str, np.ndarray]:
    """Read the state dict of a PyTorch network: the arrays of `read_weights`, which has the arguments and errors."""
    return read_weights(path, average=average).state


@typed
def read_weights(path: Path, *, average: bool = False) -> Weights:
    """Read the weights of a network of PyTorch or Keras, and what the file says of it.

    Args:
        path: a .safetensors file; a file of `torch.save` (.pth, .pt, .th, .tar, .ckpt, .bin, .pkl), which takes torch
            to read; or a file of Keras (.keras, .weights.h5, .h5, .hdf5), which takes h5py. A state dict may lie under
            a key such as "state_dict" or "model", its names may have prefixes such as "module." or "_orig_mod.", and
            there may be other entries beside it.
        average: take the moving average of the weights rather than the weights, where the file has both.

    Raises:
        UserError: there is no such file, it cannot be read, or holds no weights.
    """
    path = local_path(path)
    if not os.path.isfile(path):  # unlike Path.is_file, also for names that are too long
        raise UserError(f"{path} is not a file: give a .safetensors, .pth, .keras or .h5 file of weights")
    if path.suffix == ".safetensors":
        content, about = load_arrays(path)
    elif path.suffix in KERAS_SUFFIXES:
        if average:
            raise UserError(f"{path} holds no averaged weights: leave `average` out")
        return Weights(*read_keras(path))
    elif path.suffix in SUFFIXES:
        content = about = _read_torch(path)
    else:
        kind = f"a {path.suffix} file" if path.suffix else "a file without a suffix"
        raise UserError(f"{path} is {kind}: give a .safetensors, .pth, .keras or .h5 file of weights")
    found = find_state(content, path, average=average)
    state = {name: to_numpy(name, value, path) for name, value in found.arrays.items()}
    return Weights(state, origin_of(path, about if isinstance(about, dict) else {}), found.notes)


def _read_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"Reading {path.name} needs torch: pip install torch, or convert the file to .safetensors elsewhere"
        ) from error
    try:
        # no code is run: beside tensors and plain values only the arguments of a training script, which have no code
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what pickle, zip and the file system raise
        if not isinstance(error, pickle.UnpicklingError):
            raise UserError(
                f"{path} cannot be read, or is cut off ({type(error).__name__}): download it again"
            ) from error
        other = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it holds a {other[1]}" if other else type(error).__name__
        raise UserError(
            f"{path} cannot be read as a file of nothing but tensors ({what}), and nothing else is unpickled: save the "
            "state_dict() of the network"
        ) from error
