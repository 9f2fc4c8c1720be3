"""Seg-CQ500 (doi 10.5281/zenodo.8063221): 51 scans of CQ500 with haemorrhage, as its archive is unpacked.

Seg-CQ500/data/volumes/info.csv                 name, CT_fn, mask_fn, and what readers said of the whole scan, which is
                                                not used
Seg-CQ500/data/volumes/<name>/CT.nii            HU, thin slices; a tilted gantry stands in its affine as shear
Seg-CQ500/data/volumes/<name>/ICH_mask.nii.gz   0 nothing, one other value haemorrhage of any subtype

Before which folders CT_fn and mask_fn name is not known here: their last part is looked for in the scan's own folder.
What the archive's maker left beside it (`__MACOSX`, `._` files) and other files of a scan are not looked at.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from hemojax.data.case import CaseError
from hemojax.data.datasets import csv_table, generic, mask_files
from hemojax.data.datasets.csv_table import LINE
from hemojax.data.datasets.folder import Place
from hemojax.data.datasets.generic import Found, Tables
from hemojax.data.listing import Listing
from hemojax.data.reading import PLAIN, Reading
from hemojax.errors import listed
from hemojax.progress import say

TABLE = "info.csv"
PLACE = Place((TABLE,), ("Seg-CQ500/data/volumes", "data/volumes", "volumes"))
COLUMNS = {"name": "name", "ct_fn": "image", "mask_fn": "mask"}


def cases(root: Path, _: Mapping[str, tuple[int, ...]], reading: Reading = PLAIN) -> Listing:
    """Cases of Seg-CQ500 by name; their subtypes are not known.

    Args:
        root: the folder with info.csv, or one that holds it as the archive does.
        reading: what the files do not say of themselves.

    Raises:
        CaseError: with the path and the reason; what concerns one case alone is raised when it is read.
    """
    home = PLACE.home(root)
    images, masks = _named(home / TABLE)
    others = [path.name for path in home.iterdir() if path.is_dir() and path.name not in images]
    if others:
        say(f"{home / TABLE}: {len(others)} folders stand in no row and are not used: {listed(sorted(others))}")
    how = generic.NIFTI._replace(mask=mask_files.binary)
    return generic.listing(Found(home, images, masks, Tables(None, None, home / TABLE)), {}, reading, how)


def _named(path: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The scans and the masks that the table names, by case."""
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for row in csv_table.read(path, COLUMNS, ("name", "image", "mask")).sort_values("name").to_dict("records"):
        where, name = f"line {row[LINE]}:", str(row["name"])
        if name in images or name in ("", ".", "..") or name != _last(name):
            raise CaseError(path, f"{where} '{name}' stands there twice, or is no name of a folder")
        for column, found in (("image", images), ("mask", masks)):
            file = path.with_name(name) / _last(str(row[column]))
            if not file.is_file():
                raise CaseError(path, f"{where} {name}/{file.name} is not there")
            found[name] = file
    return images, masks


def _last(text: str) -> str:
    """The last part of a path, whichever way its slashes lean."""
    return re.split(r"[/\\]", text)[-1]
