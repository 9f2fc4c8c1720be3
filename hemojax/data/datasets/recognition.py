"""Which layout a folder has, by what lies in it: `--config.data.layout=auto`."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from hemojax.data import dicom
from hemojax.data.datasets import bhsd, folder, generic, hemorica, instance, physionet, rsna, seg_cq500
from hemojax.data.datasets.folder import Place
from hemojax.errors import UserError
from hemojax.progress import say

AUTO = "auto"


def recognised(root: Path) -> str:
    """The layout of a folder, which is said with the reason.

    Raises:
        UserError: there is no such folder; or no layout fits, or several do: names what was seen.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    found = {name: seen for name, sign in SIGNS.items() if (seen := sign(root))}
    if len(found) == 1:
        ((name, seen),) = found.items()
        say(f"{root}: the layout is {name}: {seen}")
        return name
    option = f"name it: --config.data.layout={' or '.join(found or SIGNS)}"
    if found:
        reasons = "; ".join(f"{seen} ({name})" for name, seen in found.items())
        raise UserError(f"{root}: may have several layouts: {reasons}; {option}")
    inner = [path for path in sorted(root.iterdir()) if path.is_dir()]
    near = [path.name for path in inner if any(sign(path) for sign in SIGNS.values())]
    where = f"; name the folder {' or '.join(near[:3])} in it as --config.data.root" if near else f"; {option}"
    raise UserError(f"{root}: its layout is not known; {folder.there(root)}{where}")


def _placed(place: Place) -> Callable[[Path], str]:
    def sign(root: Path) -> str:
        home = place.find(root)
        inside = home.relative_to(root).as_posix() if home else ""
        return f"{' and '.join(place.needed)} are there{f', in {inside}' if inside != '.' else ''}" if home else ""

    return sign


def _generic(root: Path) -> str:
    if (root / bhsd.MASKS).exists() and not (root / "masks").exists():
        return ""
    return "images holds NIfTI files" if _any(root / "images", *generic.SUFFIXES) else ""


def _hemorica(root: Path) -> str:
    if _any(root / "images", *hemorica.ENDINGS) and _any(root, ".csv"):
        return "images holds .npy files, and there is a .csv table"
    return ""


def _dicom(root: Path) -> str:
    inner = (Path(entry.path) for entry in _entries(root / "images") if entry.is_dir())
    return "images holds folders of DICOM files" if any(map(dicom.is_dicom, inner)) else ""


def _instance(root: Path) -> str:
    home = instance.PLACE.find(root)
    return _placed(instance.PLACE)(root) if home and _any(home / "data", *generic.SUFFIXES) else ""


def _seg_cq500(root: Path) -> str:
    home = seg_cq500.PLACE.find(root)
    if home is None:
        return ""
    with (home / seg_cq500.TABLE).open("rb") as file:
        header = file.readline(4096).lower()
    return "info.csv names CT_fn and mask_fn" if b"ct_fn" in header and b"mask_fn" in header else ""


def _any(path: Path, *endings: str) -> bool:
    return any(entry.name.lower().endswith(endings) for entry in _entries(path))


def _entries(path: Path) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder, if it is one, one after the other: there may be very many."""
    if path.is_dir():
        with os.scandir(path) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))


SIGNS: dict[str, Callable[[Path], str]] = {
    "generic": _generic,
    "hemorica": _hemorica,
    "dicom": _dicom,
    "bhsd": _placed(bhsd.PLACE),
    "physionet": _placed(physionet.PLACE),
    "instance": _instance,
    "seg_cq500": _seg_cq500,
    "rsna": _placed(rsna.PLACE),
}
"""Of each layout, what is seen of it in a folder, in words; "" where it is not there."""
