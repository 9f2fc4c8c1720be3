"""What is raised when the user, not the program, has to act."""

from collections.abc import Iterable
from difflib import get_close_matches
from unicodedata import category

_STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of controls, marks that nobody sees, halves of characters, and ends of lines."""


class UserError(Exception):
    """A mistake in the input or the options.

    Its message is one line that names the file, case or option and says what to do. The command line prints that line
    and exits with status 1; a traceback is never shown for it.

    Args:
        message: names and cells of files may stand in it as they are, see `one_line`.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """The text with escapes for what would break its line, steer a terminal, or cannot be written in UTF-8."""
    if text.isprintable():
        return text
    return "".join(ascii(letter)[1:-1] if category(letter) in _STEERING else letter for letter in text)


def first_line(error: Exception) -> str:
    """Of what an error says; its kind if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def listed(names: Iterable[object], shown: int = 5) -> str:
    """The first names, and how many more there are."""
    every = [str(name) for name in names]
    return ", ".join(every[:shown]) + (f" and {len(every) - shown} more" if len(every) > shown else "")


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
