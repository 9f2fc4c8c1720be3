"""Whether two sources say the same of the slices of each scan: a table of labels and masks, boxes and labels."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int8, UInt16

from hemojax.data.case import CaseError
from hemojax.data.refusals import refuse
from hemojax.progress import say

CHOICES = ("refuse", "table", "mask")
"""What counts where most scans contradict: nothing (the data set is refused), the table, or the mask."""


class Pair(NamedTuple):
    """What two sources say of one scan's slices: 1 present, 0 absent, -1 not known."""

    given: Int8[np.ndarray, " n"]
    other: Int8[np.ndarray, " n"]


def contradictions(pair: Pair) -> Bool[np.ndarray, " n"]:
    """Where the two sources contradict each other."""
    return (pair.given >= 0) & (pair.other >= 0) & (pair.given != pair.other)


def moved(given: Int8[np.ndarray, " n"], by: int) -> tuple[Int8[np.ndarray, " n"], int]:
    """What the first source would say if its slice numbers were changed, and how many positives have no place then."""
    number = len(given)
    found = np.full_like(given, -1)
    at = np.arange(number) + by
    inside = (at >= 0) & (at < number)
    found[at[inside]] = given[inside]
    return found, int((given[~inside] == 1).sum())


def _turned(given: Int8[np.ndarray, " n"]) -> tuple[Int8[np.ndarray, " n"], int]:
    return given[::-1], 0


CAUSES: dict[str, Callable[[Int8[np.ndarray, " n"]], tuple[Int8[np.ndarray, " n"], int]]] = {
    "seems to count slices from 1, they are counted from 0": lambda given: moved(given, -1),
    "seems to be one slice behind": lambda given: moved(given, 1),
    "seems to count slices from the scan's other end": _turned,
}


def likely_cause(pairs: Mapping[str, Pair]) -> str:
    """The change of slice numbers that takes at least half of the contradictions away, in words; or nothing."""
    now = sum(int(contradictions(pair).sum()) for pair in pairs.values())
    left = {}
    for cause, change in CAUSES.items():
        left[cause] = 0
        for pair in pairs.values():
            given, lost = change(pair.given)
            left[cause] += lost + int(contradictions(Pair(given, pair.other)).sum())
    best = min(left, key=lambda cause: left[cause])
    return best if 2 * left[best] <= now else ""


def check(source: Path, pairs: Mapping[str, Pair], *, what: tuple[str, str], choice: str) -> None:
    """Count and name what contradicts, and refuse a data set where most scans with a positive slice do.

    Args:
        source: of what is given, for messages.
        pairs: of each scan what is given, and what the other source says.
        what: the two sources, for messages: "the table", "the masks".
        choice: one of CHOICES.

    Raises:
        CaseError: more than half of the scans which one of the two calls positive somewhere contradict, and nobody says
            which counts.
    """
    found = {name: np.flatnonzero(contradictions(pair)) for name, pair in pairs.items()}
    found = {name: at for name, at in found.items() if len(at)}
    if not found:
        return
    bleeding = sum(bool(((pair.given == 1) | (pair.other == 1))[_compared(pair)].any()) for pair in pairs.values())
    slices = sum(len(at) for at in found.values())
    cause = likely_cause({name: pairs[name] for name in found})
    line = (
        f"{' and '.join(what)} contradict each other in {slices} slices of {len(found)} of {bleeding} scans "
        f"with a haemorrhage: {_named(found)}"
    )
    if choice == "refuse" and 2 * len(found) > bleeding:
        empty = not any((pair.other == 1).any() for pair in pairs.values())
        why = f"{source.name} {cause}" if cause else f"all of {what[1]} are empty" if empty else "look at both"
        remedy = f"Correct it, or say which counts: --config.data.contradictions={_choices(what)}"
        refuse(CaseError(source, f"{line}; {why}. {remedy}"))
        return
    counts = "the mask counts" if choice == "mask" else f"{source.name} counts"
    say(f"{source}: {line}; {counts}{_shifted(pairs, found)}")


def _choices(what: tuple[str, str]) -> str:
    """What the option may be: where boxes are compared with labels, masks do not count."""
    return "table or =mask" if "the masks" in what else "table"


def _compared(pair: Pair) -> Bool[np.ndarray, " n"]:
    return (pair.given >= 0) & (pair.other >= 0)


def _shifted(pairs: Mapping[str, Pair], found: Mapping[str, Int[np.ndarray, " m"]]) -> str:
    """Of the scans that contradict those which a change of slice numbers would mend, in words."""
    words = []
    for cause, change in CAUSES.items():
        names = []
        for name in found:
            given, lost = change(pairs[name].given)
            if not lost and not contradictions(Pair(given, pairs[name].other)).any():
                names.append(name)
        if names:
            words.append(f"; of {', '.join(names[:5])} it {cause}")
            break
    return "".join(words)


def _named(found: Mapping[str, Int[np.ndarray, " m"]]) -> str:
    shown = [
        f"{name} slice {', '.join(map(str, at[:3]))}{', ...' if len(at) > 3 else ''}" for name, at in found.items()
    ]
    return "; ".join(shown[:4]) + (f"; and {len(shown) - 4} more scans" if len(shown) > 4 else "")


class Placed(NamedTuple):
    """How many boxes lie on slices in which something is drawn, and how many of them hold some of it.

    Attributes:
        compared: boxes on such slices.
        hit: of these the ones that hold a drawn pixel.
        turned: the ones that would if rows and columns were exchanged.
    """

    compared: int
    hit: int
    turned: int


def placed(mask: UInt16[np.ndarray, "h w n"], boxes: Int[np.ndarray, "boxes 5"]) -> Placed:
    """Compare boxes (slice, i0, j0, i1, j1) with a mask; boxes on slices that the scan does not have do not count."""
    compared = hit = turned = 0
    for at, i0, j0, i1, j1 in boxes.tolist():
        if 0 <= at < mask.shape[2] and mask[..., at].any():
            compared += 1
            hit += bool(mask[i0:i1, j0:j1, at].any())
            turned += bool(mask[j0:j1, i0:i1, at].any())
    return Placed(compared, hit, turned)


def check_placed(source: Path, found: Mapping[str, Placed], choice: str) -> None:
    """Count boxes that hold nothing of what is drawn on their slices, and refuse a data set where most do.

    Args:
        source: of the boxes, for messages.
        found: of each scan, see `placed`.
        choice: one of CHOICES; but for "refuse" all is taken as it is.

    Raises:
        CaseError: more than half of the boxes hold nothing.
    """
    compared, hit, turned = np.array(list(found.values()), int).reshape(-1, 3).sum(axis=0).tolist()
    if hit == compared:
        return
    names = [name for name, of_scan in found.items() if of_scan.hit < of_scan.compared]
    line = f"{compared - hit} of {compared} boxes hold nothing of what is drawn on their slices: {', '.join(names[:5])}"
    if choice == "refuse" and 2 * hit < compared:
        why = "i and j seem to be exchanged" if turned > hit else "look at both"
        refuse(CaseError(source, f"{line}; {why}. Correct it, or take both: --config.data.contradictions=table"))
        return
    say(f"{source}: {line}")
