"""What a data set holds, as tables for the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from hemojax.reporting.sections import Section

AXES = {"spacing_i": "columns", "spacing_j": "rows", "spacing_k": "slices"}
"""Of the canonical order: its first axis grows to the patient's left, its second to the back."""


def content(found: Mapping[str, Any]) -> Iterator[Section]:
    """The sections.

    Args:
        found: a census, see `inspect.json`.
    """
    lines = [
        ("layout", found["layout"]),
        ("cases", f"{found['cases']}, {found['readable']} of them can be used"),
        ("patients", str(found["patients"])),
        ("slices", f"{found['slices']}, {', '.join(found['shapes']) or 'none'} pixels"),
        ("mask integers", _counts(found["mask_integers"], "slices") or "nothing is drawn"),
        ("orders of the files", _counts(found["orders"], "cases")),
        ("spacing", "; ".join(_range(AXES[name], *ends) for name, ends in found["spacing_mm"].items()) or "not said"),
    ]
    if found["hu"] is not None:
        values = {name.replace("_", " "): value for name, value in found["hu"].items() if name != "seen"}
        lines.append(("HU", ", ".join(f"{name} {value}" for name, value in values.items())))
        lines.append(("seen", ", ".join(found["hu"]["seen"]) or "neither air nor brain nor bone"))
    yield Section("Data set", (), pd.DataFrame(lines, columns=["what", "found"]))
    rows = []
    for split, of_split in found["splits"].items():
        counts = {name: str(of_split[name]) for name in ("cases", "patients", "slices")}
        positive = {
            label: _positive(number, of_split["not_known"][label]) for label, number in of_split["positive"].items()
        }
        rows.append({"split": split, **counts, **positive})
    title = "Positive slices (3+2?: 2 more are not known; -: none is known)"
    yield Section(title, (), pd.DataFrame(rows).astype(str))


def _positive(number: int, missing: int) -> str:
    return f"{number}+{missing}?" if number and missing else "-" if missing else str(number)


def _counts(numbers: Mapping[str, int], what: str) -> str:
    return ", ".join(f"{name} ({number} {what})" for name, number in numbers.items())


def _range(what: str, low: float, high: float) -> str:
    return f"{what} {low:.3g}{'' if f'{low:.3g}' == f'{high:.3g}' else f' to {high:.3g}'} mm"
