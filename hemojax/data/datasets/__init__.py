"""Data-set layouts: one file each, one function that yields checked cases."""

from collections.abc import Callable, Iterator

from hemojax.data.case import Case
from hemojax.data.datasets import generic, hemorica

LAYOUTS: dict[str, Callable[..., Iterator[Case]]] = {"generic": generic.cases, "hemorica": hemorica.cases}
"""Each takes the folder, the mask integers of the subtypes, and what counts where most scans contradict:
`(root: Path, subtypes: Mapping, contradictions: str) -> Iterator[Case]`."""

__all__ = ["LAYOUTS"]
