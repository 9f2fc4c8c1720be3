"""Identical slices under two names, found by their content."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int16

from hemojax.data.case import Case
from hemojax.data.datasets.csv_table import listed
from hemojax.errors import UserError
from hemojax.progress import say


def digests(hu: Int16[np.ndarray, "h w n"]) -> list[bytes]:
    """A digest of each slice's HU; b"" for a slice of one value, which says nothing of whose it is."""
    found = []
    for plane in np.ascontiguousarray(np.moveaxis(hu, 2, 0)):
        same = plane.min() == plane.max()
        found.append(
            b"" if same else hashlib.blake2b(repr(plane.shape).encode() + plane.tobytes(), digest_size=16).digest()
        )
    return found


class Seen:
    """The slices of the cases so far.

    Two scans share their content if half of the slices of the smaller one, or more, are in the other.
    """

    def __init__(self) -> None:
        self._of: dict[bytes, str] = {}
        self._slices: dict[str, int] = {}
        self._patient: dict[str, str] = {}
        self._shared: dict[tuple[str, str], int] = defaultdict(int)

    def add(self, case: Case) -> None:
        """Look for a case's slices among those of the cases before it.

        Raises:
            UserError: a scan of another patient shares its content.
        """
        telling = [digest for digest in digests(case.hu) if digest]
        self._slices[case.name], self._patient[case.name] = len(telling), case.patient
        for name, number in Counter(self._of[digest] for digest in telling if digest in self._of).items():
            self._shared[name, case.name] += number
            if self._patient[name] != case.patient and 2 * number >= min(self._slices[name], len(telling)):
                raise UserError(
                    f"scans {name} and {case.name} share {number} identical slices and are of two patients; remove "
                    "one, or say that they are one patient's (--config.data.patient_pattern, --config.data.patients)"
                )
        repeated = sum(Counter(telling).values()) - len(set(telling))
        if repeated:
            self._shared[case.name, case.name] = repeated
        for digest in telling:
            self._of.setdefault(digest, case.name)

    def finish(self) -> None:
        """A word about all identical slices that were found."""
        if self._shared:
            pairs = [f"{' and '.join(dict.fromkeys(two))} ({number})" for two, number in self._shared.items()]
            say(f"{sum(self._shared.values())} slices stand there twice, in {listed(pairs)}")


def watched(cases: Iterator[Case]) -> Iterator[Case]:
    """The cases as they are; identical slices under two names are named.

    Raises:
        UserError: see `Seen.add`.
    """
    seen = Seen()
    for case in cases:
        seen.add(case)
        yield case
    seen.finish()
