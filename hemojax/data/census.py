"""What a data set holds: every case is read as preparation reads it, and of each only counts and one slice are kept."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, Int16
from ml_collections import ConfigDict

from hemojax.data import mask_targets, parts, records, refusals
from hemojax.data.case import BOXED, SPLITS, CaseError
from hemojax.data.labels import LABELS
from hemojax.data.listing import Listing, Source
from hemojax.data.parts import SPACING, Part
from hemojax.data.prepare import data_set, dealing
from hemojax.data.splits import SplitAssigner
from hemojax.errors import UserError
from hemojax.progress import Progress, heard

LOWEST, HIGHEST = -1024, 3071
"""HU that are counted one by one; what lies beyond counts as these."""
SHARES = {"lowest": 0.0, "percentile_1": 0.01, "median": 0.5, "percentile_99": 0.99, "highest": 1.0}
"""Of the voxels, below each percentile."""
TISSUES = {"air": (LOWEST, -900, 1e-3), "brain": (1, 80, 1e-2), "bone": (301, HIGHEST, 1e-3)}
"""Lowest and highest HU of each, and the share of all voxels from which on it is seen."""
SHOWN = 48
"""Cases of which a slice is kept, evenly spread over all."""


class Middle(NamedTuple):
    """The middle slice of a case, in the canonical order.

    Attributes:
        number: of the slice in its file.
        hu: its values.
        drawn: where an expert's mask is, or in a slice without one, a box.
        spacing: distance of rows and of columns, mm, or NaN.
    """

    number: int
    hu: Int16[np.ndarray, "h w"]
    drawn: Bool[np.ndarray, "h w"]
    spacing: tuple[float, float]


class Look(NamedTuple):
    """What is seen in one case.

    Attributes:
        part: rows of the index, or the fault.
        said: while it was read.
        stored: the order of its file, or "".
        levels: how many voxels have each HU from LOWEST to HIGHEST.
        middle: a slice of it, if it is to be shown.
    """

    part: Part
    said: list[str]
    stored: str = ""
    levels: Int[np.ndarray, " levels"] | None = None
    middle: Middle | None = None


class Census(NamedTuple):
    """What all cases hold.

    Attributes:
        layout: of the data set.
        looks: at each case, by its name.
        index: as preparation would make it, see `records`.
        faults: why a case cannot be used, by its name.
        refused: why the data set cannot be trained on, whatever its cases are.
        unscored: why maps could not be scored on it.
        said: what else there is to know.
    """

    layout: str
    looks: dict[str, Look]
    index: pd.DataFrame
    faults: dict[str, str]
    refused: list[str]
    unscored: list[str]
    said: list[str]


def take(data: ConfigDict, folder: Path) -> Census:
    """Read all of a data set, and find all that preparation and training would refuse it for.

    Args:
        data: the config's data section.
        folder: of the records that preparation would make, see `prepare.data_set`.
    """
    with refusals.collected() as refused, heard() as said:
        listing = _listing(data, folder, refused)
        looks = _looks(listing)
        used = [look.part for look in looks.values() if not look.part.fault]
        every = range(data.folds) if data.fold < 0 else [data.fold]
        for fold in reversed(every):  # the first one's splits are shown
            assign = SplitAssigner(data.fractions.to_dict(), **dealing(data) | {"fold": fold})
            index = records.index_of(used, assign, {})
            records.check(listing, index)
    with refusals.collected() as unscored, heard() as of_masks:
        if used:
            mask_targets.check(index, data.masks.to_dict(), scored=True)
    with refusals.collected() as untrained, heard():
        if used:
            mask_targets.check(index, data.masks.to_dict(), scored=False)
    refused += untrained
    said += [line for look in looks.values() for line in look.said] + of_masks
    return Census(
        layout=data.layout,
        looks=looks,
        index=index,
        faults={name: look.part.fault for name, look in looks.items() if look.part.fault},
        refused=_lines(refused),
        unscored=[line for line in _lines(unscored) if line not in _lines(refused)],
        said=list(dict.fromkeys(said)),
    )


def _listing(data: ConfigDict, folder: Path, refused: list[UserError]) -> Listing:
    """The cases; none where the data set's folder and tables do not even say which there are."""
    try:
        return data_set(data, folder).listing()
    except UserError as error:
        refused.append(error)
    except OSError as error:
        refused.append(CaseError(Path(error.filename or data.root), f"cannot be read ({error.strerror})"))
    return Listing({})


def _lines(refused: Sequence[UserError]) -> list[str]:
    return list(dict.fromkeys(map(str, refused)))


class _Task(NamedTuple):
    source: Source
    shown: bool


def _looks(listing: Listing) -> dict[str, Look]:
    shown = set(np.linspace(0, len(listing.sources) - 1, SHOWN).round().astype(int).tolist())
    tasks = [_Task(source, n in shown) for n, source in enumerate(listing.sources.values())]
    size = sum(path.stat().st_size for task in tasks for path in task.source.files if path.exists())
    looks = []
    with Progress("reading", len(tasks)) as progress:
        for look in parts.on_all_cores(_look, tasks, size):
            looks.append(look)
            progress.advance()
    return dict(zip(listing.sources, looks, strict=True))


def _look(task: _Task) -> Look:
    with heard() as said:
        try:
            case = task.source.case()
        except UserError as error:
            return Look(Part({}, None, {}, str(error)), said)
    clipped = np.clip(case.hu, LOWEST, HIGHEST).astype(np.int64).ravel()
    middle = None
    if task.shown:
        at = case.hu.shape[2] // 2
        mask = case.mask[..., at]
        drawn = mask % BOXED > 0
        middle = Middle(
            int(case.slices[at]), case.hu[..., at], drawn if drawn.any() else mask >= BOXED, case.spacing[:2]
        )
    levels = np.bincount(clipped - LOWEST, minlength=HIGHEST - LOWEST + 1)
    return Look(Part({}, case.split, parts.rows(case)), said, case.stored, levels, middle)


def percentiles(levels: Int[np.ndarray, " levels"]) -> dict[str, int]:
    """The HU up to which the SHARES of the voxels lie."""
    below = levels.cumsum()
    return {name: LOWEST + int(np.searchsorted(below, max(1, share * below[-1]))) for name, share in SHARES.items()}


def tissues(levels: Int[np.ndarray, " levels"]) -> list[str]:
    """Of air, brain and bone those that are seen."""
    return [
        name
        for name, (low, high, share) in TISSUES.items()
        if levels[low - LOWEST : high - LOWEST + 1].sum() >= share * levels.sum()
    ]


def described(census: Census, *, skip: bool, private: bool = False) -> dict[str, Any]:
    """The census as JSON.

    Args:
        census: what was found.
        skip: whether cases that cannot be used are left out, instead of forbidding to train.
        private: leave out lines that may hold names of a data set whose cases go under digests.
    """
    index, levels = census.index, [look.levels for look in census.looks.values() if look.levels is not None]
    problems, rows = [*census.refused, *census.faults.values()], dict(iter(index.groupby("case")))
    return {
        "layout": census.layout,
        "trainable": not (census.refused if skip else problems),
        "scorable": not ((census.refused if skip else problems) or census.unscored),
        "cases": len(census.looks),
        "readable": len(levels),
        "patients": int(index["patient"].nunique()),
        "slices": len(index),
        "splits": {split: _of_slices(index[index["split"] == split]) for split in SPLITS},
        "mask_integers": _drawn(index),
        "hu": _hu(sum(levels[1:], levels[0])) if levels else None,
        "orders": dict(Counter(look.stored or "not said" for look in census.looks.values() if not look.part.fault)),
        "shapes": _shapes(index),
        "spacing_mm": _spacing(index),
        "problems": list(census.faults.values()) if private else problems,
        "unscored": census.unscored,
        "notes": [] if private else census.said,
        "each": {name: _of_case(rows.get(name, index), look) for name, look in census.looks.items()},
    }


def _of_slices(rows: pd.DataFrame) -> dict[str, Any]:
    return {
        "cases": int(rows["case"].nunique()),
        "patients": int(rows["patient"].nunique()),
        "slices": len(rows),
        "positive": {label: int((rows[label] == 1).sum()) for label in LABELS if label in rows},
        "not_known": {label: int((rows[label] < 0).sum()) for label in LABELS if label in rows},
    }


def _of_case(rows: pd.DataFrame, look: Look) -> dict[str, Any]:
    if look.levels is None:
        return {"problem": look.part.fault}
    return {
        "patient": rows["patient"].iloc[0],
        "split": rows["split"].iloc[0],
        **{name: value for name, value in _of_slices(rows).items() if name not in ("cases", "patients")},
        "mask_integers": _drawn(rows),
        "hu": _hu(look.levels),
        "order": look.stored,
        "shapes": _shapes(rows),
        "spacing_mm": _spacing(rows),
    }


def _hu(levels: Int[np.ndarray, " levels"]) -> dict[str, Any]:
    return {**percentiles(levels), "seen": tissues(levels)}


def _drawn(rows: pd.DataFrame) -> dict[str, int]:
    """In how many slices each integer is drawn."""
    held = Counter(int(value) for drawn in rows.get("drawn", []) for value in drawn)
    return {str(value): held[value] for value in sorted(held)}


def _shapes(rows: pd.DataFrame) -> list[str]:
    if not len(rows):
        return []
    return sorted({f"{height} x {width}" for height, width in zip(rows["height"], rows["width"], strict=True)})


def _spacing(rows: pd.DataFrame) -> dict[str, list[float]]:
    """The shortest and the longest distance of neighbouring voxels along each axis, where it is known."""
    known = {name: rows[name].dropna() for name in SPACING if name in rows}
    return {name: [float(part.min()), float(part.max())] for name, part in known.items() if len(part)}
