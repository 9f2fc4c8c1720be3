"""Which paths are written to and by whom, and writing files whole or not at all."""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import socket
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hemojax.errors import UserError

REFUSED = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE),
)
"""What a disk or a folder refuses, and the user has to mend: no room, no rights, a file where a folder should be."""
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
"""What a file system says that has no locks."""
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
def only_writer(folder: Path) -> Iterator[None]:
    """Makes this process the only one that writes to a folder, which is made if it is missing.

    The lock is the kernel's, on a file in the folder: it ends with the process, however that ends. Other hosts see it
    where the folder's file system has locks for all of them, as NFS has.

    Raises:
        UserError: another process is writing there; the message names it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:  # as /proc says it
        raise UserError(f"--workdir={folder}: no folder can be made there; name another") from None
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"--workdir={folder}: another run writes there ({file.read().strip() or 'it has just begun'}); "
                "wait until it has ended, or name another folder"
            ) from None
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


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


def home(value: str) -> str:
    """A path as it was given, with the home folder for a `~` at its beginning."""
    return os.path.expanduser(value)


def write_stamp(path: Path, value: dict[str, Any]) -> None:
    """Writes JSON by which a later run knows what was made, and of what."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value))


def read_stamp(path: Path) -> dict[str, Any]:
    """What `write_stamp` wrote; empty where nothing was."""
    return json.loads(path.read_text()) if path.exists() else {}


def refusal(error: BaseException, folder: Path) -> str | None:
    """What a disk or a folder refused, in a line that names path and reason; None for any other error.

    Libraries that write say it in errors of their own, which have the system's words in their text: array_record,
    TensorStore.

    Args:
        error: what was raised.
        folder: where it must have been, if the error does not say.
    """
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, OSError) and chain.errno in REFUSED:
            where = chain.filename2 or chain.filename or folder
            return f"{where}: {os.strerror(chain.errno)}; {_remedy(chain.errno)}"
        for code in REFUSED:
            if os.strerror(code) in str(chain):
                return f"{textwrap.shorten(str(chain), 300)}; {_remedy(code)}"
        chain = chain.__cause__ or chain.__context__
    return None


def _remedy(code: int) -> str:
    room = "make room there, or name a --workdir on a larger disk"
    rights = "see to its rights, or name a --workdir where you may write"
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return room
    return rights if code in (errno.EROFS, errno.EACCES, errno.EPERM) else "see to this path, or name another"


def check_room(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what the disk has no room for.

    Args:
        folder: where it is written.
        needed: bytes.
        what: is written, for the message.

    Raises:
        UserError: there is less room.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        sizes = f"{needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free"
        raise UserError(f"{folder}: no room for {what} of {sizes}; {_remedy(errno.ENOSPC)}")
