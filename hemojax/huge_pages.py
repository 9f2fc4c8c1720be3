"""Memory in huge pages: a training step on a CPU takes gigabytes, and getting them 4 KiB at a time takes long."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

TUNABLE = "glibc.malloc.hugetlb=1"  # ask the kernel for huge pages (madvise) whenever memory is allocated
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def environment(given: dict[str, str], setting: Path = SETTING) -> dict[str, str] | None:
    """The environment that makes glibc ask for huge pages, or None where that is not needed or not known.

    Args:
        given: the environment as it is; a choice of glibc's tunables in it stands.
        setting: where Linux says who gets huge pages.
    """
    try:
        only_on_request = "[madvise]" in setting.read_text()
    except OSError:
        return None
    if not only_on_request or "GLIBC_TUNABLES" in given:
        return None
    return given | {"GLIBC_TUNABLES": TUNABLE}


def ask() -> None:
    """Start this program anew, in the same process, with huge pages where they come only on request.

    glibc reads its tunables when a process begins and never again; so this has to come first in a program, and no
    library may do it.
    """
    wanted = environment(dict(os.environ))
    if wanted is not None:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)


@contextlib.contextmanager
def none_for_new_processes() -> Iterator[None]:
    """Processes started meanwhile do not inherit what `ask` set."""
    asked = os.environ.get("GLIBC_TUNABLES") == TUNABLE
    if asked:
        del os.environ["GLIBC_TUNABLES"]
    try:
        yield
    finally:
        if asked:
            os.environ["GLIBC_TUNABLES"] = TUNABLE
