"""Whose each scan is, and in which split, where the user says it beside the data set."""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from hemojax.data.case import Case, CaseError
from hemojax.data.datasets import label_table, matching
from hemojax.data.listing import Listing
from hemojax.data.refusals import refuse
from hemojax.errors import UserError, listed
from hemojax.progress import say

COLUMNS = {"patient": "patient", "split": "split", **label_table.WHOSE}


STEM = "^(.*)[ _.-]"
"""Finds in a scan's name what stands before its last part."""
MOST_SCANS = 8
"""More scans of one patient are not thought of."""


class Patients:
    """Gives each case the patient, and the split, that a table or a pattern names.

    Args:
        table: a CSV table, a row a scan: `case` and `patient`, or `patient` (the scan's name) and `subject`; `split`.
            "": none.
        pattern: a regular expression that is searched for in the case's name; its first group, or all that it finds, is
            the patient. "": none.

    Attributes:
        digest: of the table's content, or "".

    Raises:
        UserError: the table is none.
    """

    def __init__(self, table: str, pattern: str):
        self._path = Path(table).expanduser()
        self.digest = ""
        self._rows: dict[str, pd.DataFrame] = {}
        if table:
            rows = label_table.once(self._path, label_table.read(self._path, COLUMNS, needed=()), ["patient"])
            if (rows["subject"] == "").all() and rows["split"].isna().all():
                raise CaseError(
                    self._path, "names no patient and no split; add a column 'patient', 'subject' or 'split'"
                )
            self.digest = hashlib.sha256(self._path.read_bytes()).hexdigest()
            self._rows = {str(name): of_scan for name, of_scan in rows.groupby("patient")}
        self._pattern = pattern

    def of(self, listing: Listing) -> Listing:
        """The listing, of which each case is read with its patient and split.

        Raises:
            UserError: rows of the table match no scan while scans have no row; a row may name several scans, or two
                rows one; the pattern finds nothing in the name of a scan.
        """
        rows = self._by_scan(listing.sources) if self._rows else {}
        if self._pattern:
            for name in listing.sources:  # before the first scan is read
                _patient_in(name, self._pattern)
        sources = {
            name: dataclasses.replace(
                source, read=partial(_read, source.read, self._path, rows.get(name), self._pattern)
            )
            for name, source in listing.sources.items()
        }
        return Listing(sources, finish)

    def _by_scan(self, scans: Collection[str]) -> dict[str, pd.DataFrame]:
        """The rows of each scan that has any."""
        found, unknown = matching.fitting(self._path, self._rows, scans, "rows")
        bare = [name for name in scans if name not in found.values()]
        if unknown and bare:
            faults = f"{len(unknown)} rows match no scan: {matching.explained(unknown, scans)}"
            refuse(CaseError(self._path, f"{faults}; {len(bare)} scans have no row: {listed(bare)}"))
        elif unknown:
            say(f"{self._path}: {len(unknown)} rows are of no scan that is used: {listed(unknown)}")
        if bare and not unknown:
            say(f"{self._path}: {len(bare)} of {len(scans)} scans have no row: {listed(bare)}")
        return {scan: self._rows[name] for name, scan in found.items()}


def _read(read: Callable[[], Case], path: Path, row: pd.DataFrame | None, pattern: str) -> Case:
    """The case with its patient and split.

    Raises:
        UserError: the data set, the table and the pattern contradict each other.
    """
    case = read()
    named = {case.patient} - {case.name}
    split = case.split
    if row is not None:
        named |= {label_table.subject_of(path, row, otherwise="")} - {""}
        given = label_table.split_of(path, row)
        if given and split and given != split:
            raise CaseError(path, f"{case.name} is in split {given} there, and in {split} in the data set")
        split = given or split
    if pattern:
        named.add(_patient_in(case.name, pattern))
    if len(named) > 1:
        raise UserError(f"scan {case.name} is said to be of several patients: {', '.join(sorted(named))}")
    return dataclasses.replace(case, patient=named.pop() if named else case.name, split=split)


def _patient_in(name: str, pattern: str) -> str:
    """What the pattern, or its first group, finds in a scan's name."""
    found = re.search(pattern, name)
    patient = found and found.group(1 if found.re.groups else 0)
    if not patient:
        raise UserError(f"--config.data.patient_pattern={pattern}: finds no patient in '{name}'")
    return patient


def finish(patient_of: Mapping[str, str]) -> None:
    """After the last case: a word about the patients.

    Args:
        patient_of: by the name of each scan.

    Raises:
        UserError: two patients differ in how they are written alone.
    """
    scans_of: dict[str, list[str]] = {}
    for scan, patient in patient_of.items():
        scans_of.setdefault(patient, []).append(scan)
    spellings: dict[str, str] = {}
    for patient in scans_of:
        other = spellings.setdefault(matching.plain(patient), patient)
        if other != patient and not {patient, other} <= {scans_of[name][0] for name in (patient, other)}:
            refuse(UserError(f"patients '{other}' and '{patient}' may be one; write both in the same way"))
    several = [patient for patient, scans in scans_of.items() if len(scans) > 1]
    if several:
        say(f"{len(patient_of)} scans of {len(scans_of)} patients; with several scans: {listed(several)}")
    alike = look_alike([scan for scan, patient in patient_of.items() if scan == patient])
    if alike:
        groups = listed((" and ".join(names[:2]) for names in alike), 3)
        say(
            f"{sum(map(len, alike))} scans have names as of several scans of one patient: {groups}; if they are, say "
            f"so, or they come into different splits: --config.data.patient_pattern='{STEM}'"
        )


def look_alike(scans: Iterable[str]) -> list[list[str]]:
    """Scans whose names differ in their last part alone, as 007_a and 007_b, if such groups are small."""
    of_stem: dict[str, list[str]] = {}
    for scan in scans:
        found = re.search(STEM, scan)
        of_stem.setdefault(found[1] if found else scan, []).append(scan)
    # Where many names share a stem, the last part is what tells patients apart: CT-001, CT-002, ...
    if len(of_stem) == 1 or max(map(len, of_stem.values()), default=0) > MOST_SCANS:
        return []
    return [names for stem, names in of_stem.items() if len(names) > 1 and re.search(r"\d", stem)]
