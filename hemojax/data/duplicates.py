"""Identical slices under two names, found by their content."""

import hashlib
from collections import Counter

import numpy as np
import pandas as pd
from jaxtyping import Int16

from hemojax.data.refusals import refuse
from hemojax.errors import UserError, listed
from hemojax.progress import say


def digests(hu: Int16[np.ndarray, "h w n"]) -> list[str]:
    """A digest of each slice's HU; "" for a slice of one value, which says nothing of whose it is."""
    found = []
    for plane in np.ascontiguousarray(np.moveaxis(hu, 2, 0)):
        same = plane.min() == plane.max()
        found.append(
            "" if same else hashlib.blake2b(repr(plane.shape).encode() + plane.tobytes(), digest_size=16).hexdigest()
        )
    return found


def check(index: pd.DataFrame) -> None:
    """Name slices that stand there twice.

    Two scans share their content if half of the slices of the smaller one, or more, are in the other.

    Args:
        index: of the records: case, patient and digest of each slice, a case's rows together.

    Raises:
        UserError: scans of two patients share their content.
    """
    telling = index[index["digest"] != ""]
    first = telling.drop_duplicates("digest").set_index("digest")["case"]
    patient = index.drop_duplicates("case").set_index("case")["patient"]
    number = telling.groupby("case").size()
    shared: Counter[tuple[str, str]] = Counter()
    for name, rows in telling.groupby("case", sort=False):
        shared.update((other, str(name)) for other in first[rows["digest"]] if other != name)
        repeated = len(rows) - rows["digest"].nunique()
        if repeated:
            shared[str(name), str(name)] = repeated
    for (one, other), slices in shared.items():
        if patient[one] != patient[other] and 2 * slices >= min(number[one], number[other]):
            refuse(
                UserError(
                    f"scans {one} and {other} share {slices} identical slices and are of two patients; remove one, or "
                    "say that they are one patient's (--config.data.patient_pattern, --config.data.patients)"
                )
            )
    if shared:
        pairs = [f"{' and '.join(dict.fromkeys(two))} ({slices})" for two, slices in shared.items()]
        say(f"{shared.total()} slices stand there twice, in {listed(pairs)}")
