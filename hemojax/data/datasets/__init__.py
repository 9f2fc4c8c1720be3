"""Data-set layouts: one file each, one function that yields checked cases."""

from collections.abc import Callable, Iterator

from hemojax.data.case import Case
from hemojax.data.datasets import dicom, generic, hemorica

LAYOUTS: dict[str, Callable[..., Iterator[Case]]] = {
    "generic": generic.cases,
    "hemorica": hemorica.cases,
    "dicom": dicom.cases,
}
"""Each takes the folder and the mask integers of the subtypes: `(root: Path, subtypes: Mapping) -> Iterator[Case]`."""

__all__ = ["LAYOUTS"]
