"""Data-set layouts: one file each, one function that lists the cases and says how each is read."""

from collections.abc import Callable

from hemojax.data.datasets import generic, hemorica
from hemojax.data.listing import Listing

LAYOUTS: dict[str, Callable[..., Listing]] = {"generic": generic.cases, "hemorica": hemorica.cases}
"""Each takes the folder and the mask integers of the subtypes: `(root: Path, subtypes: Mapping) -> Listing`."""

__all__ = ["LAYOUTS"]
