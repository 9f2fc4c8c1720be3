"""Whose each scan is, and in which split, where the user says it beside the data set."""

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from hemojax.data.case import Case, CaseError
from hemojax.data.datasets import label_table, matching
from hemojax.data.datasets.csv_table import listed
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
        self._left = set(self._rows)
        self._scans_of: dict[str, list[str]] = {}

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
        patient = named.pop() if named else case.name
        self._scans_of.setdefault(patient, []).append(case.name)
        return dataclasses.replace(case, patient=patient, split=split)

    def of(self, cases: Iterator[Case]) -> Iterator[Case]:
        """All cases with their patients and splits.

        Raises:
            UserError: see `__call__`; a row of the table names no case.
        """
        yield from map(self, cases)
        self.finish()

    def finish(self) -> None:
        """After the last case: a word about the patients.

        Raises:
            CaseError: a row of the table names no case; two patients differ in how they are written alone.
        """
        if self._left:
            raise CaseError(
                self._path, f"{len(self._left)} rows name no scan: {listed(sorted(self._left))}; remove them"
            )
        spellings: dict[str, str] = {}
        for patient in self._scans_of:
            other = spellings.setdefault(matching.plain(patient), patient)
            if other != patient and not {patient, other} <= {self._scans_of[name][0] for name in (patient, other)}:
                raise UserError(f"patients '{other}' and '{patient}' may be one; write both in the same way")
        several = [patient for patient, scans in self._scans_of.items() if len(scans) > 1]
        if several:
            number = sum(map(len, self._scans_of.values()))
            say(f"{number} scans of {len(self._scans_of)} patients; with several scans: {listed(several)}")

    def _row(self, name: str) -> pd.DataFrame | None:
        if name not in self._rows:
            near = [other for other in self._rows if matching.plain(other) == matching.plain(name)]
            if len(near) > 1:
                raise CaseError(self._path, f"{' and '.join(near)} may both be {name}; write the scan's whole name")
            if not near:
                return None
            name = near[0]
        self._left.discard(name)
        return self._rows[name]
