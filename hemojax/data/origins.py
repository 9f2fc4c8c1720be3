"""What a prepared case was made of, so that a later run can tell whether it still is the same.

An origin is JSON: a digest of what tables say of the case, and for each of its files, which have numbers and no names
there, the size, the times of its last changes, and a digest of its content. A file whose size and times are the same is
taken for unchanged; of any other one the content decides.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hemojax.data.listing import Source

Stamp = list[int] | None
"""Size and times (ns) of the last change of content (mtime) and of anything (ctime); None for a file that is not there.

A copy that keeps the time of the file that it replaces has another ctime, which nobody can set.
"""
Origin = dict[str, Any]


def stamp(path: Path) -> Stamp:
    """How a file stands on the disk."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def digest(path: Path) -> str:
    """Of a file's content; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, _digest).hexdigest()
    except OSError:
        return ""


def of(source: Source) -> Origin:
    """The origin of a case, its files' digests not yet known."""
    said = _digest(source.said.encode(errors="surrogatepass")).hexdigest()
    return {"said": said, "files": {str(n): [stamp(path), None] for n, path in enumerate(source.files)}}


def with_digests(origin: Origin, files: Sequence[Path]) -> Origin:
    """The origin with digests of its files as they are now."""
    entries = zip(origin["files"].items(), files, strict=True)
    return origin | {"files": {n: [known, digest(path)] for (n, (known, _)), path in entries}}


def settled(origin: Origin, files: Sequence[Path]) -> Origin:
    """The origin without the digests of files that have changed since it was taken: nothing is the same as these."""
    entries = zip(origin["files"].items(), files, strict=True)
    return origin | {
        "files": {n: [known, found if stamp(path) == known else None] for (n, (known, found)), path in entries}
    }


def same(now: Origin, before: Origin, files: Sequence[Path]) -> bool:
    """Whether a case is what it was; adds to `now` the digests that are known or had to be taken for that.

    Args:
        now: see `of`.
        before: see `settled`; read from JSON. Earlier versions wrote paths where numbers stand.
        files: of the case.
    """
    if now["said"] != before["said"] or len(now["files"]) != len(before["files"]):
        return False
    for entry, (known, found), path in zip(now["files"].values(), before["files"].values(), files, strict=True):
        entry[1] = found if found is not None and known == entry[0] else digest(path)
        if entry[1] != found:
            return False
    return True


def tree(root: Path) -> str:
    """A digest of how all files under a folder stand: where it is the same, nothing there has changed."""
    found, seen = [], set()
    for folder, folders, files in os.walk(root, followlinks=True):
        about = os.stat(folder)
        if (about.st_dev, about.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        found += [(path, stamp(Path(path))) for path in (os.path.join(folder, file) for file in files)]
    return _digest(repr(sorted(found)).encode(errors="surrogatepass")).hexdigest()


def key(origin: Origin, options: str) -> str:
    """A name for what is prepared from a case as it stands, with these options."""
    stamps = [known for known, _ in origin["files"].values()]
    return _digest(repr((options, origin["said"], stamps)).encode(errors="surrogatepass")).hexdigest()


def _digest(content: bytes = b"") -> Any:
    return hashlib.blake2b(content, digest_size=16)
