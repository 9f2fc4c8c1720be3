"""Records of small round heads that bleed in the slice nearest to the feet, whichever way they are numbered."""

from pathlib import Path

import numpy as np

from hemojax.data import records
from hemojax.data.case import Case
from hemojax.data.labels import LABELS
from hemojax.data.listing import of_cases

SIDE = 48
ROW, COLUMN = np.indices((SIDE, SIDE))
HEAD = np.hypot(ROW - 23.5, COLUMN - 23.5) < 20
CORE, EDGE = np.hypot(ROW - 20, COLUMN - 14) < 3, np.hypot(ROW - 20, COLUMN - 14) < 9
AXES = {"a": "LPS", "b": "LPS", "c": "PLI", "d": "LPS", "e": "LPI", "f": "PSR"}
SPLITS = {"a": "train", "b": "train", "c": "validation", "d": "test", "e": "test", "f": "test"}


def cases():
    """Brain of 30 HU; blood of 70 HU, mask 1, inside of blood of 60 HU, mask 2. Case d has no mask 1."""
    for n, (name, axes) in enumerate(AXES.items()):
        hu, mask = np.where(HEAD, 30, -100)[..., None].repeat(4, axis=2), np.zeros((SIDE, SIDE, 4), np.uint16)
        hu[EDGE, 0], mask[EDGE, 0] = 60, 2
        hu[CORE, 0], mask[CORE, 0] = 70, 2 if name == "d" else 1
        hu[0, 0] = -101 - n  # no two scans are alike
        if axes[0] == "P":
            hu, mask = hu.transpose(1, 0, 2), mask.transpose(1, 0, 2)
        labels = np.full((4, len(LABELS)), -1, np.int8)
        labels[:, 0] = np.arange(4) == 0
        numbers = np.arange(4)[:: -1 if axes[2] == "I" else 1]
        axes = axes.replace("I", "S")
        yield Case(name, name, SPLITS[name], hu.astype(np.int16), mask, labels, numbers, axes, (0.5, 0.5, 5.0))


def prepare(folder: Path) -> Path:
    """The records of these cases in a folder."""
    records.prepare(folder, of_cases(cases()), {"train": 1.0, "validation": 1.0, "test": 1.0}, {})
    return folder
