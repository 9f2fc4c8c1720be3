"""Data-set layouts: one file each, one function that lists the cases and says how each is read."""

from collections.abc import Callable

from hemojax.data.datasets import dicom, generic, hemorica
from hemojax.data.listing import Listing

LAYOUTS: dict[str, Callable[..., Listing]] = {
    "generic": generic.cases,
    "hemorica": hemorica.cases,
    "dicom": dicom.cases,
}
"""Each takes the folder, the mask integers of the subtypes, and how scans are read.

`(root: Path, subtypes: Mapping, reading: Reading) -> Listing`
"""

__all__ = ["LAYOUTS"]
