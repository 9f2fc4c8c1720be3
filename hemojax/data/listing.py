"""What a data set's folder holds, before any scan of it is read."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from unicodedata import category

from hemojax.data import refusals
from hemojax.data.case import Case, CaseError
from hemojax.errors import UserError

_NEVER = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of what breaks a line, or is no character but a byte of a name that is not UTF-8."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a case comes from: its files and what tables say of it are all that it depends on.

    Attributes:
        files: that it is read from.
        said: what tables say of it, as text.
        read: reads it, and raises CaseError; other processes can be sent this function.
    """

    files: tuple[Path, ...]
    said: str
    read: Callable[[], Case]

    def case(self) -> Case:
        """Reads it; a reader's exception, whatever it is, is said of the scan that it met.

        Raises:
            UserError: it cannot be used.
        """
        try:
            return self.read()
        except UserError:
            raise
        except Exception as error:
            first = next(iter(str(error).splitlines()), "")
            reason = f"cannot be read ({type(error).__name__}: {first})"
            raise CaseError(next(iter(self.files), Path()), reason) from error


@dataclasses.dataclass(frozen=True)
class Listing:
    """The cases of a data set; iterated over, each is read when its turn comes.

    Attributes:
        sources: of each case by its name, in the order of the records.
        finish: is told the patient of each case that was read, and has the last word about them all.
    """

    sources: Mapping[str, Source]
    finish: Callable[[Mapping[str, str]], None] = lambda patient_of: None

    def __post_init__(self):
        """Refuses names that no table and no file of results could hold."""
        for name, source in self.sources.items():
            if not name.strip(". ") or any(letter in "/\\" or category(letter) in _NEVER for letter in name):
                path = next(iter(source.files), Path(name))
                why = f"'{name}' is no name for a case: rename it, without '/', '\\' and what cannot be written"
                refusals.refuse(CaseError(path, why))

    def __iter__(self) -> Iterator[Case]:
        """Reads one case after the other."""
        return (source.read() for source in self.sources.values())


def of_cases(cases: Iterable[Case]) -> Listing:
    """The listing of cases that are in memory, and so never change."""
    return Listing({case.name: Source((), "", partial(_itself, case)) for case in cases})


def refuse(error: CaseError) -> Case:
    """In place of reading a case of which it was found before that it cannot be used."""
    raise error


def _itself(case: Case) -> Case:
    return case
