"""Writes PyTorch's two file formats by hand, opcode by opcode, so that the tests need no PyTorch."""

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemojax.errors import UserError
from hemojax.models.torch_files import read


class Code(bytes):
    """Opcodes that push one value."""


def encode(value: Any) -> Code:
    """The opcodes that push a value."""
    match value:
        case Code():
            return value
        case None:
            return Code(b"N")
        case bool():
            return Code(b"\x88" if value else b"\x89")
        case int():
            content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return Code(b"\x8a" + bytes([len(content)]) + content)
        case str():
            content = value.encode()
            return Code(b"X" + struct.pack("<I", len(content)) + content)
        case tuple():
            return Code(b"(" + b"".join(map(encode, value)) + b"t")
        case list():
            return Code(b"](" + b"".join(map(encode, value)) + b"e")
        case dict():
            return Code(b"}(" + b"".join(encode(k) + encode(v) for k, v in value.items()) + b"u")
    raise TypeError(value)


def name(module: str, function: str) -> Code:
    return Code(f"c{module}\n{function}\n".encode())


def call(function: Code, *arguments: Any) -> Code:
    return Code(function + encode(arguments) + b"R")


ORDERED_DICT = call(name("collections", "OrderedDict"))


def storage(kind: str, key: str, size: int, *more: Any) -> Code:
    return Code(encode(("storage", name("torch", f"{kind}Storage"), key, "cpu", size, *more)) + b"Q")


def tensor(stored: Code, shape: tuple, strides: tuple, offset: int = 0) -> Code:
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, stored, offset, shape, strides, False, ORDERED_DICT)


def pickled(value: Any) -> bytes:
    return b"\x80\x02" + encode(value) + b"."


def write_zip(path: Path, value: Any, storages: dict[str, bytes], byteorder: str = "little", **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", pickled(value))
        archive.writestr("archive/byteorder", byteorder)
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", "3\n")
    return path


def write_legacy(path: Path, value: Any, storages: dict[str, bytes], itemsize: int = 4) -> Path:
    header = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    pickles = b"".join(map(pickled, [*header, value, list(storages)]))
    path.write_bytes(pickles + b"".join(struct.pack("<q", len(c) // itemsize) + c for c in storages.values()))
    return path


# Six numbers, and a tensor of all of them
FLOATS = np.arange(6, dtype=np.float32)
STORED = storage("Float", "0", 6)
PLAIN = tensor(STORED, (2, 3), (3, 1))
WRITERS = pytest.mark.parametrize("write", [write_zip, write_legacy])


def refusal(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(UserError) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message
