"""What a prepared case was made of, so that a later run can tell whether it still is the same.

An origin is JSON: a digest of what tables say of the case, and for each of its files the size, the times of its last
changes, and a digest of its content. A file whose size and times are the same is taken for unchanged; of any other one
the content decides.
"""

import hashlib
import os
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
    return {"said": said, "files": {str(path): [stamp(path), None] for path in source.files}}


def with_digests(origin: Origin) -> Origin:
    """The origin with digests of the files as they are now."""
    return origin | {"files": {path: [known, digest(Path(path))] for path, (known, _) in origin["files"].items()}}


def settled(origin: Origin) -> Origin:
    """The origin without the digests of files that have changed since it was taken: nothing is the same as these."""
    entries = origin["files"].items()
    return origin | {
        "files": {path: [known, found if stamp(Path(path)) == known else None] for path, (known, found) in entries}
    }


def same(now: Origin, before: Origin) -> bool:
    """Whether a case is what it was; adds to `now` the digests that are known or had to be taken for that.

    Args:
        now: see `of`.
        before: see `settled`; read from JSON.
    """
    if now["said"] != before["said"] or list(now["files"]) != list(before["files"]):
        return False
    for path, entry in now["files"].items():
        known, found = before["files"][path]
        entry[1] = found if found is not None and known == entry[0] else digest(Path(path))
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
    stamps = sorted((path, known) for path, (known, _) in origin["files"].items())
    return _digest(repr((options, origin["said"], stamps)).encode(errors="surrogatepass")).hexdigest()


def _digest(content: bytes = b"") -> Any:
    return hashlib.blake2b(content, digest_size=16)
