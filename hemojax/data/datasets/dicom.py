"""The DICOM layout: the generic one, with a folder of DICOM files for each case.

images/<case>/         one CT series in files of any names and folders; of several the one that `data.dicom` chooses
masks/<case>.nii.gz    as in the generic layout, on the grid on which dcm2niix converts the series
slices.csv             as in the generic layout; a column SOPInstanceUID may stand in place of patient and slice. Slices
                       are counted from 0 along the normal of the images, as dcm2niix counts them
boxes.csv              as in the generic layout, in indices of dcm2niix's array
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from nibabel import aff2axcodes

from hemojax.data import dicom, orientation, volume
from hemojax.data.case import CaseError
from hemojax.data.datasets import generic
from hemojax.data.datasets.folder import check_name
from hemojax.data.dicom import Stack, headers, pixels
from hemojax.data.listing import Listing
from hemojax.data.orientation import Turn
from hemojax.data.reading import PLAIN, Reading
from hemojax.data.volume import Volume
from hemojax.progress import say


def cases(root: Path, subtypes: Mapping[str, tuple[int, ...]], reading: Reading = PLAIN) -> Listing:
    """Cases of a folder in the DICOM layout, by name.

    Args:
        root: the folder.
        subtypes: mask integers of the subtypes, used where slices.csv does not give their labels.
        reading: what the masks' files do not say of themselves.

    Raises:
        CaseError: with the path and the reason.
    """
    return generic.cases(
        root, subtypes, reading, generic.Scans(_folders, _files, _order, _read, _all_say_order, _instances)
    )


def _folders(folder: Path) -> dict[str, Path]:
    found = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    if not found:
        raise CaseError(folder, "holds no folder of DICOM files")
    for path in found.values():
        check_name(path)
    return found


def _files(path: Path) -> tuple[Path, ...]:
    return tuple(headers.files(path))


def _order(path: Path, _: str) -> tuple[Turn, int]:
    stack, _notes = _stack(path)
    return orientation.turn(aff2axcodes(pixels.affine(stack.planes))), len(stack.planes)


def _all_say_order(_: Iterable[Path]) -> list[Path]:
    return []


def _read(path: Path, _: str) -> Volume:
    stack, notes = _stack(path)
    for note in notes:
        say(f"{path.name}: {note}")
    array, image = dicom.read(stack)
    return volume.canonical(path, array, image.affine)


def _stack(path: Path) -> tuple[Stack, tuple[str, ...]]:
    """The only stack of a case's folder, and what there is to say of the folder."""
    found = dicom.find(path)
    if len(found.stacks) > 1:
        seen = "; ".join(found.notes)
        raise CaseError(path, f"holds {len(found.stacks)} volumes, one series without gaps was expected ({seen})")
    (stack,) = found.stacks.values()
    return stack, found.notes


def _instances(folders: Mapping[str, Path]) -> dict[str, tuple[str, int]]:
    stacks = {name: _stack(path)[0] for name, path in folders.items()}
    return {plane.instance: (name, n) for name, stack in stacks.items() for n, plane in enumerate(stack.planes)}
