"""Weights made elsewhere: torchvision's state dicts, converted to safetensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hemojax.errors import UserError

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def torchvision_name(path: tuple[str, ...]) -> str:
    """Torchvision's name of the variable at `path` (without its collection): `_` and levels are its dots.

    For example ("layer1_0", "downsample_1", "scale") is "layer1.0.downsample.1.weight".
    """
    *modules, leaf = path
    return ".".join([".".join(modules).replace("_", "."), LEAVES[leaf]])


def load_torchvision(path: Path, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces a network's variables with those of torchvision's model of the same name.

    The linear layer keeps the values it has where its number of outputs differs from the file's.

    Args:
        path: a state dict as `.safetensors`. A pickle (`.pth`) is refused: reading one can run any code.
        variables: the network's initial variables; collections other than "params" and "batch_stats" are returned
            as they are.

    Returns:
        The variables with the file's values, in the shapes and dtypes they had.

    Raises:
        UserError: the file is not a readable `.safetensors`, or tensors are missing, unexpected or of another shape
            (the message names each).
    """
    tensors = {name: tensor for name, tensor in _read(path).items() if not name.endswith("num_batches_tracked")}
    loaded = {name: flatten_dict(dict(variables[name])) for name in ("params", "batch_stats")}
    faults = []
    for collection in loaded.values():
        head = {key[:-1] for key, value in collection.items() if key[-1] == "kernel" and value.ndim == 2}
        for key, value in collection.items():
            name = torchvision_name(key)
            if name not in tensors:
                faults.append(f"missing {name}")
                continue
            tensor = _transposed(tensors.pop(name))
            if tensor.shape == value.shape:
                collection[key] = jnp.asarray(tensor, value.dtype)
            elif key[:-1] not in head or tensor.shape[:-1] != value.shape[:-1]:
                faults.append(f"{name} of shape {tensor.shape} for {value.shape} (both as the network has them)")
    faults += [f"unexpected {name}" for name in tensors]
    if faults:
        raise UserError(f"{path} does not fit the network: {'; '.join(faults)}")
    return {**variables, **{name: unflatten_dict(collection) for name, collection in loaded.items()}}


def _read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: weights are read from .safetensors only; convert with safetensors.torch.save_file")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from error


def _transposed(tensor: np.ndarray) -> np.ndarray:
    """A torch tensor with its axes in Flax's order: OIHW to HWIO, (out, in) to (in, out)."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.ndim)
    return tensor if axes is None else tensor.transpose(axes)
