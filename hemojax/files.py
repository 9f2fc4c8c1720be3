"""Which paths are written to, and writing files whole or not at all."""

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from hemojax.errors import UserError

REFUSED = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
}
"""What a disk or a folder refuses, and the user has to mend: no room, no rights, a file where a folder should be."""

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

    Raises:
        UserError: the disk is full, or the folder may not be written to.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise refusal(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def refusal(error: Exception, path: Path | None = None) -> Exception:
    """The error of a disk or a folder in one line for the user; any other as it is.

    Libraries that write for themselves (array_record, tensorstore) raise errors of their own, with the system's words.

    Args:
        error: what was raised.
        path: what was to be written, where it is known.
    """
    if isinstance(error, OSError) and error.errno in REFUSED:
        reason = f"{path or error.filename or 'the disk'}: {error.strerror}"
    elif any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)):
        reason = " ".join(str(error).split())[:300]
    else:
        return error
    return UserError(f"{reason}; make room or give rights there, or name another folder")


def home(value: str) -> str:
    """A path as it was given, with the home folder for a `~` at its beginning."""
    return os.path.expanduser(value)
