"""Data-set layouts: one file each, one function that yields checked cases."""

from collections.abc import Callable, Iterator

from hemojax.data.case import Case
from hemojax.data.datasets import dicom, generic, hemorica

LAYOUTS: dict[str, Callable[..., Iterator[Case]]] = {
    "generic": generic.cases,
    "hemorica": hemorica.cases,
    "dicom": dicom.cases,
}
"""Each takes the folder, the mask integers of the subtypes, and how scans are read.

`(root: Path, subtypes: Mapping, reading: Reading) -> Iterator[Case]`
"""

__all__ = ["LAYOUTS"]
