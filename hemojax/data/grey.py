"""Grey slices: every slice of the records, windowed and resized once, in one file that is mapped into memory.

`grey.npy` lies beside the records it was made from and holds uint16 (slice, s, s, plane): the slices of train, then of
validation, then of test, each in record order. A plane is a window, or one that `with_mirror_image` adds. `grey.json`
says what they were made with. A step between two levels is 0.001 HU in a window of 80 HU, where a scan has whole HU. A
level takes half of the memory of a float, and half of its way to a device.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Float32, Int, Real, UInt16
from ml_collections import ConfigDict

from hemojax.data import hounsfield, midline, records
from hemojax.data.case import SPLITS
from hemojax.data.orientation import CANONICAL
from hemojax.errors import UserError
from hemojax.files import read_stamp, write_stamp
from hemojax.progress import Progress

LAYOUT = 2
"""What the file holds; files of another layout are made again."""

LEVELS = np.float32(65535)
"""The level of a grey value of 1."""

BLOCK = 1024
"""Slices after which a preparation notes how far it is."""

Values = TypeVar("Values", np.ndarray, jax.Array)


def to_levels(values: Float32[np.ndarray, "*shape"]) -> UInt16[np.ndarray, "*shape"]:
    """The nearest levels of grey values in [0, 1]."""
    return np.round(values * LEVELS).astype(np.uint16)


def from_levels(levels: Values) -> Values:
    """Grey values in [0, 1], float32, of levels."""
    return levels * (1 / LEVELS)  # a product: XLA rounds a division otherwise than numpy does


def from_hu(hu: Real[np.ndarray, "h w"], data: ConfigDict) -> Float32[np.ndarray, "s s c"]:
    """A slice in HU as grey values of `data.size` pixels, as the config's data section says, each that of a level.

    Args:
        hu: the slice, in the canonical orientation.
        data: of the config: size, windows, per_slice_minmax and mirror_channels count.
    """
    windows = hounsfield.grey(hu, data.size, data.windows, data.per_slice_minmax)
    return from_levels(to_levels(with_mirror_image(windows) if data.mirror_channels else windows))


def planes(data: ConfigDict) -> int:
    """How many planes a slice has."""
    return len(data.windows) * (3 if data.mirror_channels else 1)


def channels(data: ConfigDict) -> int:
    """How many inputs a network has for them, see `hounsfield.channels`."""
    return hounsfield.channels(planes(data))


def with_mirror_image(windows: Float32[np.ndarray, "s s w"]) -> Float32[np.ndarray, "s s c"]:
    """The slice; its mirror image; and by how much the slice is brighter, as a bleed is: three planes a window.

    The mirror's line is found in the first window.
    """
    line = midline.find(80 * windows[..., 0], CANONICAL.index("L"))
    other = np.stack([midline.mirror(window, line) for window in np.moveaxis(windows, -1, 0)], axis=-1)
    return np.concatenate([windows, other, np.maximum(windows - other, 0)], axis=-1, dtype=np.float32)


def prepare(folder: Path, data: ConfigDict) -> None:
    """Make the grey slices of the records in `folder`, on all cores, unless they are there with these options.

    A killed preparation leaves nothing behind that could be mistaken for them, and goes on where it was.

    Args:
        folder: the records.
        data: the config's data section, see `from_hu`.

    Raises:
        UserError: the disk has no room for them.
    """
    stamp, path, unfinished = folder / "grey.json", folder / "grey.npy", folder / "grey.unfinished.npy"
    wanted = _fingerprint(data)
    if read_stamp(stamp) == wanted:
        return
    stamp.unlink(missing_ok=True)
    first, sources = first_places(folder), {split: records.data_source(folder, split) for split in SPLITS}
    number = sum(map(len, sources.values()))
    done = _done(folder, wanted)
    if not done:
        (folder / "grey.unfinished.json").unlink(missing_ok=True)
        _new_file(unfinished, (number, data.size, data.size, planes(data)))
    offset = np.load(unfinished, mmap_mode="r", allow_pickle=False).offset
    with unfinished.open("r+b") as file:

        def make(place: int) -> None:
            split = next(name for name in reversed(SPLITS) if first[name] <= place)
            levels = to_levels(from_hu(sources[split][place - first[split]]["hu"], data)).tobytes()
            os.pwrite(file.fileno(), levels, offset + place * len(levels))

        with Progress("windowing and resizing", number, done) as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(done, number, BLOCK):
                for _ in pool.map(make, range(start, min(start + BLOCK, number))):
                    progress.advance()
                write_stamp(folder / "grey.unfinished.json", {"done": start + BLOCK, **wanted})
    unfinished.replace(path)
    (folder / "grey.unfinished.json").unlink()
    write_stamp(stamp, wanted)


def _done(folder: Path, wanted: dict[str, Any]) -> int:
    """How many slices a killed preparation with these options has made."""
    found = read_stamp(folder / "grey.unfinished.json")
    done = found.pop("done", 0)
    return done if found == wanted and (folder / "grey.unfinished.npy").exists() else 0


def open_file(folder: Path) -> UInt16[np.ndarray, "n s s w"]:
    """The levels of all grey slices, read from the disk where they are looked at."""
    return np.load(folder / "grey.npy", mmap_mode="r", allow_pickle=False)


def first_places(folder: Path) -> dict[str, int]:
    """Where each split begins in the file."""
    sizes = [len(records.read_index(folder, split)) for split in SPLITS]
    return dict(zip(SPLITS, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))


def places(folder: Path, splits: Sequence[str], numbers: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Where the file holds these records, given the split and the number of each."""
    first = first_places(folder)
    return np.array([first[split] for split in splits], np.int64) + numbers


def _fingerprint(data: ConfigDict) -> dict[str, Any]:
    return {
        "layout": LAYOUT,
        "size": data.size,
        "windows": [list(map(float, window)) for window in data.windows],
        "per_slice_minmax": data.per_slice_minmax,
        **({"mirror_channels": True} if data.mirror_channels else {}),  # files of earlier versions do not name it
    }


def _new_file(path: Path, shape: tuple[int, ...]) -> None:
    """A file for an array of this shape, whose place on the disk is taken before the work begins."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint16, shape=shape)
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink()
        raise UserError(
            f"{path.parent}: no room for the grey slices, {array.nbytes / 1e9:.1f} GB ({error.strerror}); "
            "name a --workdir on a larger disk, or a smaller --config.data.size"
        ) from error
