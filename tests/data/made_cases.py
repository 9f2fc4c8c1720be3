"""A case as a layout would give it, without files."""

import numpy as np

from hemojax.data.case import Case
from hemojax.data.labels import LABELS


def made(name, patient=None, labels=("any",), split=None, hu=None):
    """A case whose first slice has these labels, and whose other has none."""
    hu = np.zeros((4, 4, 2), np.int16) if hu is None else hu
    found = np.zeros((hu.shape[2], len(LABELS)), np.int8)
    found[0, [LABELS.index(label) for label in labels]] = 1
    mask = np.zeros(hu.shape, np.uint16)
    return Case(name, patient or name, split, hu, mask, found, np.arange(hu.shape[2]), "LPS", (0.5, 0.5, 5.0))
