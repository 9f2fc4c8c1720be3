"""What is raised when the user, not the program, has to act."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in the input or the options.

    Its message is one line that names the file, case or option and says what to do. The command line prints that line
    and exits with status 1; a traceback is never shown for it.
    """


def check_name(name: str, known: Iterable[str], kind: str) -> None:
    """Refuse a name that is not known.

    Args:
        name: as it was given.
        known: every name that there is.
        kind: what the names are of, for the message: method, stage, task, ...

    Raises:
        UserError: the name is not known; the nearest one is named.
    """
    names = tuple(known)
    if name not in names:
        nearest = "".join(f": did you mean {known!r}?" for known in get_close_matches(name, names, n=1, cutoff=0))
        raise UserError(f"no {kind} {name!r}{nearest} There are {', '.join(names) or 'none'}")
