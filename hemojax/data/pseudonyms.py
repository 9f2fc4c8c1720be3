"""Names of cases and patients as digests, where nobody who is given records and results shall see them.

A digest is keyed (BLAKE2b, RFC 7693): without the key nobody can try names until one fits. The key and the table of
names lie in a folder that its owner alone may read, and are not to be given away.
"""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from hemojax.data.case import Case, CaseError
from hemojax.data.datasets import matching
from hemojax.data.listing import Listing, Source
from hemojax.errors import UserError
from hemojax.files import replacing

PRIVATE = "private"
"""The folder of key and table in a workdir."""
COLUMNS = ["digest", "name"]
LENGTH = 8
"""Bytes of a digest: of a million names two share one with a probability of 3e-8."""


class Pseudonyms:
    """From names to digests, the same for a name in one workdir, and others in another one.

    Args:
        folder: of the key and the table; made where it is missing.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / "key"
        if not path.exists():
            with _private(path) as temporary:
                temporary.write_bytes(os.urandom(32))
        self._key = path.read_bytes()

    def __call__(self, name: str) -> str:
        """The digest of a name; it begins with letters, so that no table takes it for a number."""
        found = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=LENGTH, key=self._key)
        return f"id-{found.hexdigest()}"

    def note(self, names: Iterable[str]) -> None:
        """Add names to the private table, by which their owner finds them again."""
        path = self._folder / "names.csv"
        known = pd.read_csv(path, dtype=str, keep_default_na=False) if path.exists() else pd.DataFrame(columns=COLUMNS)
        table = pd.concat([known, pd.DataFrame([(self(name), name) for name in names], columns=COLUMNS)])
        with _private(path) as temporary:
            table.drop_duplicates().sort_values("name").to_csv(temporary, index=False)

    def of(self, listing: Listing) -> Listing:
        """The listing under digests, which are noted; its cases, and what is said of faulty ones, name nobody.

        Patients whose names differ in what `matching.plain` leaves out are one: nobody could see that they may be.
        """
        self.note(listing.sources)
        sources = {
            self(name): Source(source.files, self(source.said), partial(self._read, source, name))
            for name, source in listing.sources.items()
        }
        return Listing(sources, listing.finish)

    def hide(self, text: str, name: str, files: Iterable[Path] = ()) -> str:
        """A text without a name, and without the paths and names of files that may hold it."""
        words = {
            name,
            *(word for file in files for word in (str(file), file.name, matching.ENDINGS.sub("", file.name))),
        }
        for word in sorted(words - {""}, key=len, reverse=True):
            text = text.replace(word, self(name))
        return text

    def _read(self, source: Source, name: str) -> Case:
        try:
            case = source.case()
        except CaseError as error:
            if error.path not in source.files and error.path.name != str(error.path):  # of a table, with other names
                raise UserError(_unsaid(self(name))) from None
            raise CaseError(Path(self(name)), self.hide(error.reason, name, source.files)) from None
        except UserError:
            raise UserError(_unsaid(self(name))) from None
        return dataclasses.replace(case, name=self(name), patient=self(matching.plain(case.patient)))


def _unsaid(digest: str) -> str:
    return f"{digest}: what is said of it contradicts; --config.data.hash_names=False says what"


@contextlib.contextmanager
def _private(path: Path) -> Iterator[Path]:
    """As `files.replacing`, of a file that its owner alone may read, from its first byte on."""
    with replacing(path) as temporary:
        temporary.touch(mode=0o600)
        yield temporary
