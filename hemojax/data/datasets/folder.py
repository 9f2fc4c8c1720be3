"""The files of a folder that a layout reads, and a word about all others."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hemojax.data.case import CaseError
from hemojax.data.refusals import refuse
from hemojax.errors import listed
from hemojax.progress import say

_OTHERS = "nii.gz nii hdr img mha mhd nrrd nhdr mgz mnc npy npz ima dcm dicom nii.bz2 nii.xz nii.zst nii.zip mif"
SCANS = tuple(f".{ending}" for ending in _OTHERS.split())
"""Endings of files that may hold scans or masks."""


def files(folder: Path, endings: Sequence[str], *, strict: bool = True) -> dict[str, Path]:
    """The files with one of these endings, which may be in capitals, by name without it, in order.

    Hidden files are passed over. Others are named, and not used.

    Args:
        folder: where they are.
        endings: in small letters; the first one that fits counts.
        strict: whether scans with another ending are refused.

    Raises:
        CaseError: the folder holds scans with another ending, two files of one name, or a name that is not UTF-8.
    """
    found: dict[str, Path] = {}
    others = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        check_name(path)
        ending = next((e for e in endings if path.name.lower().endswith(e)), None)
        if ending is None or (strict and not path.is_file()):
            others.append(path.name)
            continue
        name = path.name[: -len(ending)]
        if name in found:
            refuse(CaseError(path, f"{found[name].name} beside it has the same name; remove one of them"))
        found[name] = path
    endless = [name for name in others if name.lower().endswith(tuple(endings))]
    if endless and strict:
        raise CaseError(folder, f"{listed(endless)}: a folder, or a link to nothing; bring the file itself here")
    unread = [name for name in others if name.lower().endswith(SCANS)]
    if unread and strict:
        why = f"{len(unread)} are no {endings[0]} files: {listed(unread)}; convert them or move them"
        refuse(CaseError(folder, why))
    if others:
        say(f"{folder}: {len(others)} are no {' or '.join(endings)} files and not used: {listed(others)}")
    return found


def check_name(path: Path) -> None:
    """Refuse a name that no table can hold: its bytes are not UTF-8, as of archives from elsewhere.

    Raises:
        CaseError: it is such a name.
    """
    try:
        path.name.encode()
    except UnicodeEncodeError:
        shown = path.name.encode(errors="surrogateescape").decode("ascii", "backslashreplace")
        raise CaseError(path.parent, f"the name '{shown}' is not UTF-8; rename it") from None


def check_layout(root: Path) -> None:
    """Refuse a folder that is no data set with a folder `images`.

    Raises:
        CaseError: it is missing, or has no folder `images`.
    """
    if not root.is_dir():
        raise CaseError(root, "no such folder")
    if not (root / "images").is_dir():
        there = listed(sorted(path.name for path in root.iterdir()))
        raise CaseError(root, f"has no folder 'images', where the layout has its scans; it holds {there or 'nothing'}")


def say_unused(root: Path, used: Sequence[str]) -> None:
    """Name what lies in a data set's folder beside what its layout uses; documents are passed over.

    Raises:
        CaseError: a name differs from one that is used in letter case alone.
    """
    others = []
    for path in sorted(root.iterdir()):
        if (
            path.name in used
            or path.name.startswith(".")
            or path.suffix.lower() in (".md", ".txt", ".pdf", ".html", ".json")
        ):
            continue
        near = [name for name in used if name.lower() == path.name.lower()]
        if near:
            refuse(CaseError(path, f"is not read; name it {near[0]}"))
        others.append(path.name)
    if others:
        say(f"{root}: not used: {listed(others)}")


class Place(NamedTuple):
    """Where a published data set lies: in the folder itself, or in one in it, as its archive is unpacked.

    Attributes:
        needed: what must be there.
        inner: folders in which it may be, relative to the one that the user names.
    """

    needed: tuple[str, ...]
    inner: tuple[str, ...]

    def find(self, root: Path) -> Path | None:
        """The folder in which all that is needed lies, or None."""
        places = (root, *(root / name for name in self.inner))
        return next((place for place in places if all((place / name).exists() for name in self.needed)), None)

    def home(self, root: Path) -> Path:
        """The folder in which all that is needed lies.

        Raises:
            CaseError: there is none; names what is there.
        """
        found = self.find(root)
        if found is None:
            places = f"neither here nor in {' or '.join(self.inner)} there are" if root.is_dir() else "has no"
            raise CaseError(root, f"{places} {' and '.join(self.needed)}; {there(root)}")
        return found


def there(root: Path) -> str:
    """What lies in a folder, in words."""
    if not root.is_dir():
        return "no such folder"
    return f"there are {listed(sorted(path.name for path in root.iterdir() if path.name[0] != '.')) or 'no files'}"
