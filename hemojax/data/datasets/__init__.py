"""Data-set layouts: one file each, one function that lists the cases and says how each is read."""

from collections.abc import Callable

from hemojax.data.datasets import bhsd, dicom, generic, hemorica, instance, physionet, rsna, seg_cq500
from hemojax.data.listing import Listing

LAYOUTS: dict[str, Callable[..., Listing]] = {
    "generic": generic.cases,
    "hemorica": hemorica.cases,
    "dicom": dicom.cases,
    "bhsd": bhsd.cases,
    "physionet": physionet.cases,
    "instance": instance.cases,
    "seg_cq500": seg_cq500.cases,
    "rsna": rsna.cases,
}
"""Each takes the folder, the mask integers of the subtypes, and how scans are read.

`(root: Path, subtypes: Mapping, reading: Reading) -> Listing`
"""

WITHOUT_MASKS = ("rsna",)
"""Layouts of data sets in which nothing is drawn."""

__all__ = ["LAYOUTS", "WITHOUT_MASKS"]
