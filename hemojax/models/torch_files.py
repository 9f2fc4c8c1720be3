"""PyTorch's state dicts (`.pth`, `.pt`), read without PyTorch and without running anything that the file asks for.

The two formats are those of `torch.serialization` (torch 2): a zip archive of `data.pkl` and a file for each storage,
and the older stream of five pickles followed by the storages.
"""

import io
import math
import struct
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hemojax.errors import UserError
from hemojax.models import torch_pickle
from hemojax.models.torch_pickle import Tensor

_LEGACY_HEADER = (0x1950A86A20F9469CFC6C, 1001)  # magic number and protocol version
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")
# What broken bytes raise: ValueError here, the others in zipfile, pickletools and numpy.
_BROKEN = (ValueError, LookupError, ArithmeticError, RuntimeError, EOFError, struct.error, zipfile.BadZipFile)


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a state dict, which may lie in a checkpoint under one or more of the names in `_WRAPPERS`.

    The arrays are read-only views of what was read, so that no file takes much more memory than its own size.

    Args:
        path: what `torch.save` wrote, in the zip format or the older one.

    Returns:
        Each tensor by its name, in its own shape and dtype.

    Raises:
        UserError: the file cannot be read, is broken, asks for anything but tensors (the message names it), or holds
            a tensor that is larger than its storage or reaches outside of it.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\3\4"
        return _read_zip(path) if zipped else _read_legacy(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except _BROKEN as error:
        raise UserError(f"{path}: not a readable PyTorch state dict: {textwrap.shorten(str(error), 300)}") from error


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise ValueError(f"{entry.filename!a} is compressed, which PyTorch never does")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries overlap")
        folders = [entry.filename.removesuffix("data.pkl") for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(folders) != 1:
            raise ValueError("it is a zip archive without the one data.pkl that torch.save writes")
        folder = folders[0]
        value, _ = torch_pickle.parse(io.BytesIO(archive.read(f"{folder}data.pkl")))
        names = archive.namelist()
        big_endian = f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") == b"big"
        return _arrays(_state_dict(value), lambda key: archive.read(f"{folder}data/{key}"), big_endian)


def _read_legacy(content: bytes) -> dict[str, np.ndarray]:
    stream = io.BytesIO(content)
    magic, version, _ = (torch_pickle.parse(stream)[0] for _ in range(3))
    if (magic, version) != _LEGACY_HEADER:
        raise ValueError("it is in neither of PyTorch's formats")
    value, storages = torch_pickle.parse(stream)
    keys, _ = torch_pickle.parse(stream)
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise ValueError("its list of storages is broken")
    raw, start = {}, stream.tell()
    for key in keys:
        storage = storages[key]
        if int.from_bytes(content[start : start + 8], "little") != storage.size:
            raise ValueError(f"storage {key!a} is not of the size that its tensors expect")
        end = start + 8 + storage.size * storage.dtype.itemsize
        raw[key] = memoryview(content)[start + 8 : end]
        start = end
    return _arrays(_state_dict(value), raw.__getitem__, big_endian=False)


def _state_dict(value: Any) -> dict[str, Tensor]:
    while type(value) is dict and (inner := [value[key] for key in _WRAPPERS if type(value.get(key)) is dict]):
        value = inner[0]
    if type(value) is not dict or not value:
        raise ValueError("it holds no state dict")
    for name, tensor in value.items():
        if type(name) is not str or type(tensor) is not Tensor:
            raise ValueError(f"{name!a} is no tensor")
    return value


def _arrays(
    tensors: dict[str, Tensor], raw: Callable[[str], bytes | memoryview], big_endian: bool
) -> dict[str, np.ndarray]:
    """The tensors as views of their storages, each of which is read once from the bytes that `raw` gives by key."""
    storages: dict[str, bytes | memoryview] = {}
    for storage in {tensor.storage.key: tensor.storage for tensor in tensors.values()}.values():
        content = raw(storage.key)
        if len(content) != storage.size * storage.dtype.itemsize:
            raise ValueError(f"storage {storage.key!a} is not of the size that its tensors expect")
        swapped = big_endian and content
        storages[storage.key] = np.frombuffer(content, storage.dtype).byteswap().tobytes() if swapped else content
    return {name: _view(name, tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _view(name: str, tensor: Tensor, content: bytes | memoryview) -> np.ndarray:
    (_, dtype, size), offset, shape, strides = tensor
    valid = type(shape) is tuple and type(strides) is tuple and len(shape) == len(strides) <= 64
    if not valid or any(type(n) is not int or not 0 <= n < 2**63 for n in (offset, *shape, *strides)):
        raise ValueError(f"the shape of {name!a} is broken")
    # In Python's integers: numpy's own check of these overflows.
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if math.prod(shape) > size or (0 not in shape and last >= size):
        raise ValueError(f"{name!a} is larger than its storage or reaches outside of it")
    return np.ndarray(shape, dtype, content, offset * dtype.itemsize, [stride * dtype.itemsize for stride in strides])
