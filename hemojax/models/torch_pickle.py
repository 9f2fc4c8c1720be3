"""The pickles inside PyTorch's files, read as data: nothing that they ask for is imported or called.

A pickle is a program that may call any function. `parse` interprets the few opcodes that a state dict needs and holds
no callable of the file's: a global is a name, only those of `_DTYPES` and `_FUNCTIONS` are let through, and "calling"
one makes a plain record. A `pickle.Unpickler` with a `find_class` of its own would guard less: it hashes keys of any
depth, reserves memory for any memo index, and lets BUILD set attributes on what `find_class` returns.

The opcodes are those of `pickletools`, the globals those that `torch.save` (torch 2) writes for tensors.
"""

import io
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

_DTYPES = {
    "torch FloatStorage": np.dtype(np.float32),
    "torch DoubleStorage": np.dtype(np.float64),
    "torch HalfStorage": np.dtype(np.float16),
    "torch BFloat16Storage": np.dtype(jnp.bfloat16),
    "torch LongStorage": np.dtype(np.int64),
    "torch IntStorage": np.dtype(np.int32),
    "torch ShortStorage": np.dtype(np.int16),
    "torch CharStorage": np.dtype(np.int8),
    "torch ByteStorage": np.dtype(np.uint8),
    "torch BoolStorage": np.dtype(np.bool_),
}
_FUNCTIONS = (
    "collections OrderedDict",
    "torch Size",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
)


class _Global(NamedTuple):
    name: str


class Storage(NamedTuple):
    """Where the values of tensors lie: the storage's name in the file, and what it holds how many of."""

    key: str
    dtype: np.dtype
    size: int


class Tensor(NamedTuple):
    """A view of a storage, as the file gives it, which may be nonsense. Offset and strides count elements."""

    storage: Storage
    offset: Any
    shape: Any
    strides: Any


def parse(stream: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """Reads the next pickle of a stream, and leaves the stream behind it.

    Returns:
        Its value, made of plain values and of the records above; and all storages that it names, by key.

    Raises:
        ValueError, LookupError: the pickle is broken or asks for anything that no state dict needs.
    """
    stack: list[Any] = []
    below: list[list[Any]] = []  # the stacks that lie below the open marks
    memo: dict[Any, Any] = {}
    storages: dict[str, Storage] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name == "STOP":
            break
        if name in ("PROTO", "FRAME"):
            continue
        if name == "MARK":
            below.append(stack)
            stack = []
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in _LITERALS:
            stack.append(_LITERALS[name](argument))
        elif name in _TO_MARK:
            fixed, make = _TO_MARK[name]
            operands, stack = stack, below.pop()
            stack.append(make(*_pop(stack, fixed), *operands))
        elif name in _COUNTED:
            count, make = _COUNTED[name]
            value = make(*_pop(stack, count))
            if type(value) is Storage and storages.setdefault(value.key, value) != value:
                raise ValueError(f"storage {value.key!a} has two types or sizes")
            stack.append(value)
        else:
            shown = f"{name} {argument!a}" if isinstance(argument, str) else name
            raise ValueError(f"its pickle holds the opcode {shown}, which no state dict needs")
    (value,) = stack
    return value, storages


def _pop(stack: list[Any], count: int) -> list[Any]:
    if len(stack) < count:
        raise ValueError("its pickle takes more than it holds")
    first = len(stack) - count
    operands = stack[first:]
    del stack[first:]
    return operands


def _global(name: str) -> _Global:
    if name not in _DTYPES and name not in _FUNCTIONS:
        shown = ascii(name.replace(" ", "."))[1:-1]
        raise ValueError(f"it asks for {shown[:100]}; only tensors are read: save model.state_dict() alone")
    return _Global(name)


def _global_of(module: Any, name: Any) -> _Global:
    if type(module) is not str or type(name) is not str:
        raise ValueError("its pickle asks for what is no name")
    return _global(f"{module} {name}")


def _call(function: Any, arguments: Any) -> Any:
    match function, arguments:
        case _Global("collections OrderedDict"), ():
            return {}
        case _Global("torch Size"), (tuple() as shape,):
            return shape
        case _Global("torch._utils _rebuild_tensor_v2"), (Storage() as storage, offset, shape, strides, *_):
            return Tensor(storage, offset, shape, strides)
        case _Global("torch._utils _rebuild_parameter"), (Tensor() as tensor, *_):
            return tensor
        case _Global(name), _:
            raise ValueError(f"it calls {name.replace(' ', '.')} with arguments that PyTorch does not write")
    raise ValueError("it calls what is no function")


def _storage(identity: Any) -> Storage:
    match identity:
        case ("storage", _Global(name), str(key), _, int(size), *rest) if name in _DTYPES and rest in ([], [None]):
            if size >= 0:
                return Storage(key, _DTYPES[name], size)
    raise ValueError("it refers to what is no storage of a tensor")


def _tuple(*items: Any) -> Any:
    return items


def _extend(items: Any, *more: Any) -> Any:
    if type(items) is not list:
        raise ValueError("its pickle appends to what is no list")
    items.extend(more)
    return items


def _update(items: Any, *more: Any) -> Any:
    keys, values = more[::2], more[1::2]
    # No tuples as keys: the hash of a nested one can take for ever.
    if type(items) is not dict or any(type(key) not in (str, int) for key in keys):
        raise ValueError("its pickle sets items of what is no dict of names")
    items.update(zip(keys, values, strict=True))
    return items


def _drop_attributes(value: Any, _: Any) -> Any:
    """What BUILD does to a state dict is to add its versions of modules, which are not needed."""
    if type(value) is not dict:
        raise ValueError("its pickle sets attributes of what is no dict")
    return value


_LITERALS: dict[str, Callable[[Any], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "GLOBAL": _global,
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"), lambda number: number),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), lambda text: text),
}
"""Opcodes that push a value."""

_COUNTED: dict[str, tuple[int, Callable[..., Any]]] = {
    "TUPLE1": (1, _tuple),
    "TUPLE2": (2, _tuple),
    "TUPLE3": (3, _tuple),
    "APPEND": (2, _extend),
    "SETITEM": (3, _update),
    "STACK_GLOBAL": (2, _global_of),
    "REDUCE": (2, _call),
    "BUILD": (2, _drop_attributes),
    "BINPERSID": (1, _storage),
}
"""Opcodes that replace as many operands by a value."""

_TO_MARK: dict[str, tuple[int, Callable[..., Any]]] = {
    "TUPLE": (0, _tuple),
    "APPENDS": (1, _extend),
    "SETITEMS": (1, _update),
}
"""Opcodes that replace as many operands below the mark, and all above it, by a value."""
