"""What a data set is refused for: raised at once, or collected where all of it is asked for.

Preparation stops at the first refusal. `--config.task=inspect` runs the same functions and wants every one, so that
both never disagree on whether a data set can be used.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from hemojax.errors import UserError

_collected: ContextVar[list[UserError] | None] = ContextVar("collected", default=None)


def refuse(error: UserError) -> None:
    """Raise an error; where refusals are collected, note it, so that the caller goes on without what it refuses."""
    found = _collected.get()
    if found is None:
        raise error
    found.append(error)


@contextlib.contextmanager
def collected() -> Iterator[list[UserError]]:
    """Within it `refuse` raises nothing; yields the list of what was refused."""
    found: list[UserError] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)
