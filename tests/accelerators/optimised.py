"""What a compiled program's text says: its collectives, and what its kernels read and write."""

import re
from collections import Counter
from typing import NamedTuple

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4}
BYTES |= {"f64": 8, "s64": 8, "u64": 8}
SHAPE = re.compile(r"\b(" + "|".join(BYTES) + r")\[([\d,]*)\]")
INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (.*?) ([\w-]+)\((.*)$")
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
FREE = {"parameter", "constant", "bitcast", "get-tuple-element", "tuple"}  # neither read nor write


class Kernels(NamedTuple):
    """Of the entry computation: each of its instructions is a kernel, or a few.

    Attributes:
        read: bytes of the operands, each counted where it is used.
        written: bytes of the results.
        fusions, converts, convolutions: how many there are; converts are counted inside of fusions too.
    """

    read: int
    written: int
    fusions: int
    converts: int
    convolutions: int


def size_in_bytes(shapes: str) -> int:
    """Of all arrays in a shape's text, a tuple's too."""
    total = 0
    for dtype, sides in SHAPE.findall(shapes):
        number = BYTES[dtype]
        for side in filter(None, sides.split(",")):
            number *= int(side)
        total += number
    return total


def collectives(text: str) -> dict[str, dict[str, float]]:
    """How many of each kind there are in the program, and the MiB that a device gives to them."""
    number: Counter[str] = Counter()
    mib: Counter[str] = Counter()
    for line in text.splitlines():
        if (found := INSTRUCTION.match(line)) and (kind := found[3].removesuffix("-start")) in COLLECTIVES:
            number[kind] += 1
            mib[kind] += size_in_bytes(found[2]) / 2**20
    return {kind: {"number": number[kind], "mib": round(mib[kind], 3)} for kind in number}


def kernels(text: str) -> Kernels:
    """What the kernels of the entry computation read and write."""
    entry = text[text.index("\nENTRY ") :].splitlines()
    shapes: dict[str, str] = {}
    read = written = fusions = convolutions = 0
    for line in entry:
        if not (found := INSTRUCTION.match(line)):
            continue
        name, shape, kind, rest = found.groups()
        shapes[name] = shape
        if kind in FREE or kind.endswith("-done"):  # what was started is counted there
            continue
        fusions += kind == "fusion"
        convolutions += "__cudnn$conv" in rest
        operands = re.findall(r"%([\w.-]+)", rest.split("), ")[0])
        read += sum(size_in_bytes(shapes.get(operand, "")) for operand in operands)
        written += size_in_bytes(shape)
    return Kernels(read, written, fusions, len(re.findall(r" convert\(", text)), convolutions)
