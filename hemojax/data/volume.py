"""Volumes on their grids: read from NIfTI, turned to the canonical orientation, compared and resampled in mm."""

import contextlib
import dataclasses
import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Float, Int, Shaped
from nibabel.spatialimages import HeaderDataError
from scipy import ndimage

from hemojax.data import orientation
from hemojax.data.case import CaseError
from hemojax.data.orientation import Turn
from hemojax.errors import first_line

MM = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}
"""Of a header's unit of length."""
MOST_VOXELS = 2**29
"""A head CT of 512 slices of 1,024 x 1,024 pixels; no array beyond that is read, however well it is compressed."""
MOST_BEHIND = 2**28
"""So many bytes behind a compressed array are read to come to the file's end."""
DEFLATE = 1032
"""At most so many bytes come of one that gzip wrote (https://zlib.net/zlib_tech.html)."""
SAME_PLACE = 0.1
"""Corners of two grids that lie closer than so much of a pixel are the same."""
FARTHEST = 1e6
"""mm: numbers of an affine beyond are damage, and so are voxels smaller than 1 / FARTHEST."""
SQUARE = 1.5
"""An axial slice's pixels are no longer than so many times their width: else they were slices of another direction."""
LONGEST = 3.0
"""Nor is an axial slice of a head."""
SIZES = (1.0, 2000.0)
"""An axial slice is as long at least, and at most, in mm: else the unit of length is not what the header says."""


@dataclasses.dataclass(frozen=True)
class Volume:
    """A volume in the canonical orientation.

    Its own order is that of its file, but with the slices on the last axis: so are slices numbered and boxes given.

    Attributes:
        array: indices grow to the patient's left, back and head.
        affine: from indices to mm, as NIfTI has it.
        turn: from the order of its file.
    """

    array: Shaped[np.ndarray, "h w n"]
    affine: Float[np.ndarray, "4 4"]
    turn: Turn

    @property
    def numbers(self) -> Int[np.ndarray, " n"]:
        """The own number of each slice."""
        return self.turn.numbers(self.array.shape[2])

    @property
    def own_shape(self) -> tuple[int, int, int]:
        """Height, width and slices in its own order."""
        h, w, n = self.own(self.array).shape
        return h, w, n

    @property
    def spacing(self) -> tuple[float, float, float]:
        """The distance of neighbouring voxels along each axis, mm."""
        i, j, k = nib.affines.voxel_sizes(self.affine).tolist()
        return i, j, k

    @property
    def cosines(self) -> tuple[float, float, float]:
        """Of the angles between the steps along two axes, see `case.Case`."""
        steps = self.affine[:3, :3] / self.spacing * (1, 1, -1 if self.turn.reversed[2] else 1)
        between = (steps.T @ steps).round(6) + 0.0
        return float(between[0, 1]), float(between[0, 2]), float(between[1, 2])

    def own(self, canonical: Shaped[np.ndarray, "h w n"]) -> Shaped[np.ndarray, "_ _ n"]:
        """An array on its grid in its own order."""
        return self.turn.slices_last(self.turn.stored(canonical))

    def from_own(self, own: Shaped[np.ndarray, "_ _ n"]) -> Shaped[np.ndarray, "h w n"]:
        """An array in its own order in the canonical one."""
        return self.turn.canonical(own.transpose(np.argsort(self.turn.order_slices_last())))


def read_nifti(path: Path) -> tuple[Shaped[np.ndarray, "_ _ _"], nib.Nifti1Image]:
    """The array of a 3-D NIfTI file as it is stored, and the image with its header.

    Raises:
        CaseError: the file is missing, truncated, no NIfTI, not three-dimensional, of an unknown type, or its header
            claims more than a head CT can hold or than there is in the file.
    """
    with _naming(path):
        image = _opened(path)
        array = _whole_gzip(path, image) if path.suffix.lower() == ".gz" else np.asanyarray(image.dataobj)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 or 0 in array.shape:
        raise CaseError(path, f"is not a volume: its shape is {array.shape}, height x width x slices was expected")
    return array, image


def order(path: Path, axes: str = "") -> tuple[Turn, int]:
    """From the order of a NIfTI file to the canonical one, and how many slices it has; no voxel is read.

    Args:
        path: of the file.
        axes: see `read`.

    Raises:
        CaseError: see `read_nifti` and `affine_mm`.
    """
    with _naming(path):
        image = _opened(path)
    turn = orientation.turn(nib.aff2axcodes(affine_mm(path, image, axes)))
    if len(image.shape) <= turn.axes[2]:
        raise CaseError(path, f"is not a volume: its shape is {image.shape}, height x width x slices was expected")
    return turn, int(image.shape[turn.axes[2]])


def says_order(image: nib.Nifti1Image) -> bool:
    """Whether the file says in which order its array is: one of its form codes is not 0."""
    return bool(image.header["sform_code"] or image.header["qform_code"])


def without_order(paths: Iterable[Path]) -> list[Path]:
    """The files of these that do not say their order; those that cannot be read are not among them."""
    found = []
    for path in paths:
        with contextlib.suppress(CaseError), _naming(path):
            if not says_order(_opened(path)):
                found.append(path)
    return found


def read(path: Path, axes: str = "") -> Volume:
    """The volume of a NIfTI file, in the canonical orientation.

    Args:
        path: of the file.
        axes: the order of the array where the file does not say it (both form codes are 0); "": nibabel's, LAS.

    Raises:
        CaseError: see `read_nifti`, `affine_mm` and `canonical`.
    """
    array, image = read_nifti(path)
    return canonical(path, array, affine_mm(path, image, axes))


def read_like(path: Path, scan: Path, axes: str = "") -> Volume:
    """The volume of a mask whose voxels are those of a scan one by one, whatever its own affine says.

    Args:
        path: of the mask.
        scan: of the scan's file, whose affine counts.
        axes: see `read`.

    Raises:
        CaseError: the two arrays have not the same shape; see `read`.
    """
    array, _ = read_nifti(path)
    with _naming(scan):
        image = _opened(scan)
    if array.shape != image.shape[:3]:
        raise CaseError(path, f"the mask's shape {_by(array.shape)} is not the scan's {_by(image.shape)}")
    return canonical(path, array, affine_mm(scan, image, axes))


def affine_mm(path: Path, image: nib.Nifti1Image, axes: str = "") -> Float[np.ndarray, "4 4"]:
    """From the indices of a file's array to mm: the sform, else the qform, else the pixels' sizes in the order `axes`.

    Raises:
        CaseError: it has no inverse, or is not finite.
    """
    header = image.header
    try:
        unit = MM[header.get_xyzt_units()[0]]
    except KeyError:
        raise CaseError(path, f"its unit of length is unknown (xyzt_units {header['xyzt_units']})") from None
    affine = np.array(image.affine, np.float64)
    if axes and not says_order(image):
        turn = orientation.turn(axes)
        sizes = np.abs(header["pixdim"][1:4].astype(np.float64))
        affine = np.eye(4)
        for row, (axis, other_way) in enumerate(zip(turn.axes, turn.reversed, strict=True)):
            towards = -1 if row < 2 else 1  # NIfTI's axes grow to the right, the front and the head
            affine[row] = 0
            affine[row, axis] = sizes[axis] * (-towards if other_way else towards)
    affine[:3] *= unit
    if not np.isfinite(affine).all():
        raise CaseError(path, "its affine is not finite; repair it")
    if np.abs(affine).max() > FARTHEST:
        raise CaseError(
            path, f"its affine holds {affine.flat[np.abs(affine).argmax()]:g} mm, as no scan does; repair it"
        )
    lengths = nib.affines.voxel_sizes(affine)
    if lengths.min() < 1 / FARTHEST or abs(np.linalg.det(affine[:3, :3])) < 1e-3 * lengths.prod():
        raise CaseError(
            path, f"its affine has no inverse, its voxels are {_by(lengths)} mm; repair its sform or set its code to 0"
        )
    return affine


def canonical(path: Path, array: Shaped[np.ndarray, "_ _ _"], affine: Float[np.ndarray, "4 4"]) -> Volume:
    """An array as it is stored, turned so that its indices grow to the patient's left, back and head.

    Raises:
        CaseError: its slices were not taken axially, or are of a size that no head has.
    """
    turn = orientation.turn(nib.aff2axcodes(affine))
    turned = Volume(turn.canonical(array), turn.affine(affine, array.shape), turn)
    pixel = nib.affines.voxel_sizes(turned.affine)[:2]
    if pixel.max() > SQUARE * pixel.min():
        plane = "sagittally" if pixel[0] > pixel[1] else "coronally"
        raise CaseError(
            path,
            f"its slices were taken {plane}: in axial ones pixels would be {_by(pixel)} mm; bring the axial series",
        )
    sides = pixel * turned.array.shape[:2]
    if sides.max() > LONGEST * sides.min():
        raise CaseError(
            path,
            f"by its affine ({''.join(nib.aff2axcodes(affine))}) an axial slice would be {_by(sides)} mm, as no head "
            "is; repair its affine",
        )
    if not SIZES[0] <= sides.max() <= SIZES[1]:
        raise CaseError(
            path, f"by its affine an axial slice would be {_by(sides)} mm, as no head is; repair its affine or its unit"
        )
    return turned


def on_grid_of(scan: Volume, path: Path, mask: Volume, resample: bool) -> Shaped[np.ndarray, "h w n"]:
    """The array of a mask on its scan's grid.

    Args:
        scan: the scan.
        path: of the mask.
        mask: the mask, whose file may have another order.
        resample: where the mask has another grid, take the nearest of its voxels.

    Raises:
        CaseError: the mask has another grid, and it is not to be resampled; or nothing that is drawn in it lies in the
            scan.
    """
    if mask.array.shape == scan.array.shape:
        apart = np.linalg.norm(_corners(mask) - _corners(scan), axis=1).max()
        if apart <= SAME_PLACE * nib.affines.voxel_sizes(scan.affine)[:2].min():
            return mask.array
        seen = f"corners of the mask lie {apart:.3g} mm from the scan's"
    else:
        seen = f"the mask's shape {_by(mask.array.shape)} is not the scan's {_by(scan.array.shape)}"
    if not resample:
        raise CaseError(path, f"{seen}; resample it to the scan's grid, or set --config.data.resample_masks=True")
    to_mask = np.linalg.inv(mask.affine) @ scan.affine
    found = ndimage.affine_transform(
        mask.array, to_mask[:3, :3], to_mask[:3, 3], output_shape=scan.array.shape, order=0, mode="constant"
    )
    if mask.array.any() and not found.any():
        raise CaseError(path, f"{seen}, and nothing that is drawn in it lies in the scan; repair its affine")
    return found


def _opened(path: Path) -> nib.Nifti1Image:
    image = nib.load(path)
    if not isinstance(image, nib.Nifti1Image):
        raise CaseError(path, "is no NIfTI file")
    _check_size(path, image)
    return image


def _whole_gzip(path: Path, image: nib.Nifti1Image) -> Shaped[np.ndarray, "..."]:
    """The array of a compressed file, read to its end, where its checksum stands: nibabel stops before it.

    Raises:
        CaseError: much follows the array.
        OSError: the checksum is not that of what was read.
    """
    with gzip.open(path) as file:
        array = np.asanyarray(type(image).from_stream(file).dataobj)
        left = MOST_BEHIND
        while left and (read := len(file.read(2**20))):
            left = max(left - read, 0)
    if not left:
        raise CaseError(path, f"holds much more than the {_by(image.shape)} voxels of its header; convert it again")
    return array


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Whatever a reader raises becomes a line with the path."""
    logger = nib.imageglobals.logger
    silent, logger.disabled = logger.disabled, True  # what it would say is in its exceptions
    try:
        yield
    except CaseError:
        raise
    except FileNotFoundError:
        raise CaseError(path, "no such file") from None
    except HeaderDataError as error:
        raise CaseError(path, f"its header cannot be used, convert the scan again ({first_line(error)})") from None
    except Exception as error:  # a damaged file can make a reader fail in any way, and must not end a batch
        if path.is_dir():
            raise CaseError(path, "is a folder; bring the file that is in it here") from None
        raise CaseError(path, f"cannot be read, copy it again ({first_line(error)})") from None
    finally:
        logger.disabled = silent


def _corners(volume: Volume) -> Float[np.ndarray, "8 3"]:
    indices = np.indices((2, 2, 2)).reshape(3, 8).T * (np.array(volume.array.shape) - 1)
    return nib.affines.apply_affine(volume.affine, indices)


def _check_size(path: Path, image: nib.Nifti1Image) -> None:
    voxels = int(np.prod(image.shape, dtype=object))
    if voxels > MOST_VOXELS:
        raise CaseError(path, f"its header claims {_by(image.shape)} voxels, more than a head CT has; convert it again")
    held = path.stat().st_size * (DEFLATE if path.suffix.lower() == ".gz" else 1)
    if voxels * image.get_data_dtype().itemsize > held:
        raise CaseError(
            path, f"cannot be read, copy it again (its header claims {_by(image.shape)} voxels, its size is less)"
        )


def _by(numbers: Shaped[np.ndarray, " n"] | tuple[int, ...]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
