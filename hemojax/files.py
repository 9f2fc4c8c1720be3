"""Which paths are written to, and writing files whole or not at all."""

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from hemojax.errors import UserError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def refuse_address(option: str, value: object) -> None:
    """Refuse object storage (`gs://bucket`, `s3://bucket`) and every other address where a folder or file is meant.

    An object store has no rename in one step, no appending and no memory mapping, on which a run that may be killed at
    any time relies; and `pathlib` would make a local folder `gs:` of it. `gs:/bucket`, which `pathlib` makes of the
    address, is refused too.

    Args:
        option: its name on the command line, without the dashes.
        value: what was given; only text is looked at.

    Raises:
        UserError: it is an address.
    """
    if isinstance(value, str) and _ADDRESS.match(value):
        raise UserError(
            f"--{option}={value}: an address is no folder or file; name one on a disk (one that all hosts see, such as "
            "NFS or Filestore, where there are several), and copy from and to object storage before and after the run"
        )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary sibling to write; on success it takes `path`'s place in one step, on failure it is removed.

    The sibling keeps the whole suffix, because writers choose their format by it. Missing folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
