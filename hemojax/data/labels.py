"""The labels of a slice, and the integers of their masks."""

LABELS = ("any", "EPH", "SDH", "SAH", "IPH", "IVH")
"""Columns of every label array. Values: 1 present, 0 absent, -1 not known."""

BHSD_SUBTYPES = {"EPH": (1,), "IPH": (2,), "IVH": (3,), "SAH": (4,), "SDH": (5,)}
"""Mask integers of the five subtypes in BHSD, which the phantom follows."""
