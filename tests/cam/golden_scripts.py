"""The scripts beside the golden files, and what they share."""

import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def load(name):
    """A module in the folder of the golden files."""
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))
