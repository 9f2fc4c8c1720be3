"""A progress bar with rate and time left on a terminal; plain lines where there is none."""

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from hemojax.errors import one_line

PLAIN_EVERY_S = 20.0


_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


def say(text: str) -> None:
    """Print a line about what is being done."""
    text, heard = one_line(text), _heard.get()
    if heard is not None:
        heard.append(text)
        return
    Console().print(text, highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """Within it what is said is not printed; yields the list of it."""
    found: list[str] = []
    token = _heard.set(found)
    try:
        yield found
    finally:
        _heard.reset(token)


class Progress:
    """Counts `total` steps of a job.

    Args:
        what: the job, in a word or two.
        total: number of steps.
        done: steps done already, which do not count for the rate.
    """

    def __init__(self, what: str, total: int, done: int = 0):
        self._what, self._total, self._done, self._first = what, total, done, done
        self._console = Console()
        self._begun = self._said = time.monotonic()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=total, completed=done, rate="", note="")

    def __enter__(self) -> "Progress":
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        """Leave the bar as it stands."""
        self._bar.stop()

    def advance(self, note: str = "", steps: int = 1) -> None:
        """Some steps are done."""
        self._done += steps
        now = time.monotonic()
        rate = (self._done - self._first) / max(now - self._begun, 1e-9)
        self._bar.update(self._task, advance=steps, rate=f"{rate:.2f}/s", note=note)
        if not self._console.is_terminal and now - self._said > PLAIN_EVERY_S:
            self._said = now
            left = (self._total - self._done) / rate
            self.line(f"{self._what} {self._done}/{self._total}, {rate:.2f}/s, {left:.0f} s left  {note}")

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(one_line(text), highlight=False, markup=False, soft_wrap=True)
