"""INSTANCE 2022 (arXiv 2301.03281), as its archive train_2.zip is unpacked.

train_2/data/<number>.nii.gz    HU, numbers from 001 to 100
train_2/label/<number>.nii.gz   0 nothing, 1 haemorrhage of any subtype

Each scan is a patient's: whether two are of one is not known. The 30 scans of the validation phase have no masks, and
are nothing to train on; `explain` takes them.
"""

from collections.abc import Mapping
from pathlib import Path

from hemojax.data.datasets import generic, mask_files
from hemojax.data.datasets.folder import Place
from hemojax.data.listing import Listing
from hemojax.data.reading import PLAIN, Reading

PLACE = Place(("data", "label"), ("train_2", "train"))


def cases(root: Path, _: Mapping[str, tuple[int, ...]], reading: Reading = PLAIN) -> Listing:
    """Cases of INSTANCE 2022 by name; their subtypes are not known.

    Args:
        root: the folder, or the one that holds train_2.
        reading: what the files do not say of themselves.

    Raises:
        CaseError: with the path and the reason; what concerns one case alone is raised when it is read.
    """
    how = generic.NIFTI._replace(mask=mask_files.binary)
    return generic.listing(generic.pairs(PLACE.home(root), *PLACE.needed), {}, reading, how)
