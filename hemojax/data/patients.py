"""Whose each scan is, and in which split, where the user says it beside the data set."""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from hemojax.data.case import Case, CaseError
from hemojax.data.datasets import label_table, matching
from hemojax.data.datasets.csv_table import listed
from hemojax.data.listing import Listing
from hemojax.data.refusals import refuse
from hemojax.errors import UserError
from hemojax.progress import say

COLUMNS = {"patient": "patient", "split": "split", **label_table.WHOSE}


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
            self.digest = hashlib.sha256(self._path.read_bytes()).hexdigest()
            self._rows = {str(name): of_scan for name, of_scan in rows.groupby("patient")}
        self._pattern = pattern

    def __call__(self, case: Case) -> Case:
        """The case with its patient and split.

        Raises:
            UserError: the data set, the table and the pattern contradict each other, or the pattern finds nothing.
        """
        row = self._row(case.name)
        named = {case.patient} - {case.name}
        split = case.split
        if row is not None:
            named |= {label_table.subject_of(self._path, row, otherwise="")} - {""}
            given = label_table.split_of(self._path, row)
            if given and split and given != split:
                raise CaseError(self._path, f"{case.name} is in split {given} there, and in {split} in the data set")
            split = given or split
        if self._pattern:
            found = re.search(self._pattern, case.name)
            if not (found and (patient := found.group(1 if found.re.groups else 0))):
                raise UserError(f"--config.data.patient_pattern={self._pattern}: finds no patient in '{case.name}'")
            named.add(patient)
        if len(named) > 1:
            raise UserError(f"scan {case.name} is said to be of several patients: {', '.join(sorted(named))}")
        return dataclasses.replace(case, patient=named.pop() if named else case.name, split=split)

    def of(self, listing: Listing) -> Listing:
        """The listing, of which each case is read with its patient and split.

        Raises:
            CaseError: a row of the table names no case, or two rows may name one.
        """
        left = self._rows.keys() - {self._named(name) for name in listing.sources}
        if left:
            refuse(CaseError(self._path, f"{len(left)} rows name no scan: {listed(sorted(left))}; remove them"))
        sources = {
            name: dataclasses.replace(source, read=partial(self._read, source.read))
            for name, source in listing.sources.items()
        }
        return Listing(sources, finish)

    def _read(self, read: Callable[[], Case]) -> Case:
        return self(read())

    def _row(self, name: str) -> pd.DataFrame | None:
        named = self._named(name)
        return None if named is None else self._rows[named]

    def _named(self, name: str) -> str | None:
        """The name of this scan in the table."""
        if name in self._rows:
            return name
        near = [other for other in self._rows if matching.plain(other) == matching.plain(name)]
        if len(near) > 1:
            raise CaseError(self._path, f"{' and '.join(near)} may both be {name}; write the scan's whole name")
        return near[0] if near else None


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
