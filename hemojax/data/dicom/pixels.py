"""From a stack of planes to its volume in HU with its affine, and back to planes."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int16, Integer, Shaped
from nibabel.nifti1 import Nifti1Image
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import UID, JPEG2000TransferSyntaxes, RLELossless

from hemojax.data.case import CaseError
from hemojax.data.dicom import headers
from hemojax.data.dicom.headers import Plane, Unreadable

AIR = -1024
"""HU that stand where a file has padding: outside of the field of view."""
DECODERS = ("pydicom", "pyjpegls", "pylibjpeg", "pillow")
"""pydicom's plugins in our order. pylibjpeg's RLE and gdcm can end the whole process on damaged pixels."""
MOST_VOXELS = 2**30
"""A head CT of 1,024 slices of 1,024 x 1,024 pixels; no array beyond that is made."""
HARDLY_SHEARED = 1e-3
"""Of cosines between an affine's axes: up to here a quaternion says the same as the affine."""
_PIXELS = (*headers.TAGS, "PixelData")
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


def read(name: str, planes: Sequence[Plane]) -> tuple[Int16[np.ndarray, "h w n"], Nifti1Image]:
    """The volume of a stack in HU, on the grid on which dcm2niix would write it, and an image with its affine.

    The first axis runs along the columns of the stored planes, the second against their rows, the third along the
    stack. Padding is AIR. The affine is that of the planes' positions: sheared, where the gantry was tilted.

    Args:
        name: of the stack, for messages.
        planes: evenly spaced, in order.

    Raises:
        CaseError: a plane cannot be decoded, or holds what is no HU; or there are more voxels than MOST_VOXELS.
    """
    shape = (*planes[0].shape[::-1], len(planes))
    if np.prod(shape, dtype=np.int64) > MOST_VOXELS:
        raise CaseError(Path(name), f"claims {' x '.join(map(str, shape))} voxels, more than any head CT has")
    stored = np.empty(shape[::-1], np.int16)  # a plane after the other, and turned without a copy
    opened: tuple[Path | None, Dataset] = (None, Dataset())
    for n, plane in enumerate(planes):
        try:
            if opened[0] != plane.path:
                opened = plane.path, _open(plane.path)
            stored[n] = _hu(opened[1], plane)
        except Unreadable as error:
            raise CaseError(Path(name), f"{plane.path.name}: {error}") from None
    volume = stored.transpose(2, 1, 0)[:, ::-1]
    image = Nifti1Image(volume, None)
    image.header.set_xyzt_units("mm")
    grid = affine(planes)
    image.set_sform(grid, code="scanner")
    axes = grid[:3, :3] / np.linalg.norm(grid[:3, :3], axis=0)
    straight = np.abs(axes.T @ axes - np.eye(3)).max() < HARDLY_SHEARED
    image.set_qform(grid if straight else None, code="scanner" if straight else "unknown")
    return volume, image


def slices_first(volume: Shaped[np.ndarray, "h w n"]) -> Shaped[np.ndarray, "n rows columns"]:
    """Undo the order of `read`: a plane each, as they are stored."""
    return volume[:, ::-1].transpose(2, 1, 0)


def affine(planes: Sequence[Plane]) -> Float[np.ndarray, "4 4"]:
    """From indices of the volume of `read` to mm towards right, anterior, superior (DICOM PS3.3, C.7.6.2.1.1)."""
    first, last = planes[0], planes[-1]
    along_columns, along_rows = np.reshape(first.orientation, (2, 3))
    between_rows, between_columns = first.spacing
    rows = first.shape[0]
    if len(planes) > 1:
        step = np.subtract(last.position, first.position) / (len(planes) - 1)
    else:
        step = np.cross(along_columns, along_rows) * first.distance
    grid = np.eye(4)
    grid[:3, 0] = along_columns * between_columns
    grid[:3, 1] = -along_rows * between_rows
    grid[:3, 2] = step
    grid[:3, 3] = np.array(first.position) + along_rows * between_rows * (rows - 1)
    grid[:3] *= _LPS_TO_RAS[:, None]
    return grid + 0.0  # no -0


def same(one: Plane, other: Plane) -> bool:
    """Whether two planes hold the same HU.

    Raises:
        Unreadable: one of them cannot be decoded.
    """
    found = []
    for plane in (one, other):
        try:
            found.append(_hu(_open(plane.path), plane))
        except Unreadable as error:
            raise Unreadable(f"{plane.path.name}: {error}") from None
    return np.array_equal(found[0], found[1])


def _open(path: Path) -> Dataset:
    try:
        with headers.quiet():
            dataset = headers.read(path, _PIXELS)
    except Unreadable:
        raise
    except (Exception, MemoryError):
        raise Unreadable("cannot be read; copy it again") from None
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not _decoder(syntax):
        raise Unreadable(f"is compressed ({syntax.name}), which pip install 'hemojax[dicom]' reads")
    return dataset


def _decoder(syntax: UID) -> str | None:
    """The first of DECODERS that reads a compressed transfer syntax; None, where there is none or none is needed."""
    if not syntax.is_compressed:
        return None
    with contextlib.suppress(NotImplementedError):  # video, say
        installed = get_decoder(syntax).available_plugins
        return next((name for name in DECODERS if name in installed), None)
    return None


def _hu(dataset: Dataset, plane: Plane) -> Int16[np.ndarray, "rows columns"]:
    try:
        with headers.quiet():
            stored = _stored(dataset, plane)
    except Unreadable:
        raise
    except (Exception, MemoryError):  # the decoders raise errors of many kinds
        raise Unreadable("its pixels cannot be decoded; copy it again") from None
    hu = np.rint(stored.astype(np.float64) * plane.slope + plane.intercept)
    hu[_padding(dataset, stored)] = AIR
    if hu.min() < -32768 or hu.max() > 32767:
        raise Unreadable(f"values from {hu.min():g} to {hu.max():g} are no HU")
    return hu.astype(np.int16)


def _stored(dataset: Dataset, plane: Plane) -> Integer[np.ndarray, "rows columns"]:
    syntax = dataset.file_meta.TransferSyntaxUID
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if syntax.is_compressed and syntax != RLELossless:
        stream = get_frame(dataset.PixelData, plane.frame, number_of_frames=frames)
        claimed = _size(stream, syntax in JPEG2000TransferSyntaxes)
        if claimed and claimed != plane.shape:  # before a decoder makes room for it
            raise Unreadable(f"its compressed pixels claim {claimed[0]} x {claimed[1]}, its header says otherwise")
    index = plane.frame if plane.multi_frame else 0
    stored = pixel_array(dataset, index=index, raw=True, decoding_plugin=_decoder(syntax) or "")
    if stored.shape != plane.shape or stored.dtype.kind not in "iu":
        raise Unreadable(f"its pixels have the shape {stored.shape}, its header says {plane.shape}")
    return stored


def _padding(dataset: Dataset, stored: Integer[np.ndarray, "rows columns"]) -> Shaped[np.ndarray, "rows columns"]:
    """Where a plane is padded. Both ends of the range may have been written with the other sign than the pixels'."""
    ends = [dataset.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    ends = [int.from_bytes(end[:2], "little") if isinstance(end, bytes) else end for end in ends]
    if ends[0] is None:
        return np.zeros(stored.shape, bool)
    dtype = stored.dtype
    low, high = (
        np.array(int(end) % 2 ** (8 * dtype.itemsize), f"u{dtype.itemsize}").astype(dtype)
        for end in (ends[0], ends[0] if ends[1] is None else ends[1])
    )
    return (stored >= min(low, high)) & (stored <= max(low, high))


def _size(stream: bytes, jpeg_2000: bool) -> tuple[int, int] | None:
    """Rows and columns that a compressed image claims (ISO 15444-1 A.5.1, ISO 10918-1 B.2.2); None: it has no size."""
    if jpeg_2000:
        at = stream.find(b"\xff\x4f\xff\x51")
        corner = [int.from_bytes(stream[at + k : at + k + 4], "big") for k in (8, 12, 16, 20)]
        return (corner[1] - corner[3], corner[0] - corner[2]) if at >= 0 else None
    at = 2
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            return int.from_bytes(stream[at + 5 : at + 7], "big"), int.from_bytes(stream[at + 7 : at + 9], "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None
