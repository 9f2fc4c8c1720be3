"""Which scan a name in a table or folder means, where it is not written as the scan's own name is."""

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from hemojax.data.case import CaseError
from hemojax.data.refusals import refuse
from hemojax.errors import listed
from hemojax.progress import say

ENDINGS = re.compile(r"(\.nii\.gz|\.nii|\.npy|\.hdr|\.img|\.dcm|\.gz)+$", re.IGNORECASE)
_MASK = re.compile(r"[ _.-]+(masks?|seg|segmentation|labels?|gt|roi|0000)$", re.IGNORECASE)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _blanks(name: str) -> str:
    """Without characters that nobody sees, and the quotes by which spreadsheets keep a number's zeros."""
    seen = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    return " ".join(re.sub(r"^=\"(.*)\"$", r"\1", seen.strip()).strip("'\"").split())


def _ending(name: str) -> str:
    return ENDINGS.sub("", re.split(r"[/\\]", name)[-1])


def _zeros(name: str) -> str:
    """Without what a spreadsheet takes from a number, or adds to it: 007 and 7.0 are 7."""
    return re.sub(r"0*(\d+)", r"\1", re.sub(r"^(\d+)[.,]0+$", r"\1", name))


STEPS: dict[str, Callable[[str], str]] = {
    "Unicode form": _composed,
    "blanks or quotes": _blanks,
    "an ending": _ending,
    "letter case": str.casefold,
    "a word for masks": lambda name: _MASK.sub("", name),
    "leading zeros": _zeros,
    "hyphens": lambda name: re.sub(r"[\s_.-]+|[\u2010-\u2015]+", "_", name),
}
"""In what two spellings of a name may differ, from what is seen least; each is taken off after those before it."""
SURE = ("Unicode form", "blanks or quotes", "an ending")
"""What never tells two scans apart: two names that differ in these alone are one."""
SHOWN = 5
"""How many names a refusal shows."""


def match(
    source: Path, names: Iterable[str], scans: Collection[str], what: str, target: str = "scan"
) -> dict[str, str]:
    """The scan that each name means, see `fitting`.

    Raises:
        CaseError: a name fits no scan, several scans, or a scan that another name fits.
    """
    found, unknown = fitting(source, names, scans, what)
    if unknown:
        refuse(CaseError(source, f"{len(unknown)} {what} match no {target}: {explained(unknown, scans)}"))
    return found


def fitting(source: Path, names: Iterable[str], scans: Collection[str], what: str) -> tuple[dict[str, str], list[str]]:
    """The scan that each name means, and the names that fit none; other spellings than the scan's are said once.

    Where a scan has the name itself, that one is meant. Otherwise spellings may differ as STEPS says, where exactly
    one scan fits the name, and no other name fits the scan.

    Args:
        source: the table or folder in which the names stand, for messages.
        names: as they stand there.
        scans: the names of the scans.
        what: what the names are of, for messages: patients, masks.

    Raises:
        CaseError: a name fits several scans, or a scan that another name fits.
    """
    found: dict[str, str] = {}
    respelt: dict[str, list[str]] = defaultdict(list)
    unknown: list[str] = []
    keys: dict[str, dict[str, list[str]]] = {}
    for name in dict.fromkeys(names):
        if name in scans:
            found[name] = name
            continue
        for step in STEPS:
            if step not in keys:
                keys[step] = _keys(scans, step)
            fitting = keys[step].get(_key(name, step), [])
            if len(fitting) > 1:
                refuse(CaseError(source, f"'{name}' may be {' or '.join(sorted(fitting))}; write its whole name"))
                break
            if fitting:
                found[name] = fitting[0]
                respelt[step].append(f"'{name}' is {fitting[0]}")
                break
        else:
            unknown.append(name)
    _refuse_two_names(source, found)
    for step, pairs in respelt.items():
        say(f"{source}: {len(pairs)} {what} are spelt otherwise than their files ({step}): {listed(pairs, 3)}")
    return found, unknown


def plain(name: str) -> str:
    """The name without all in which spellings of one name may differ."""
    return _key(name, "hyphens")


def _key(name: str, last: str) -> str:
    for step, change in STEPS.items():
        name = change(name)
        if step == last:
            break
    return name


def _keys(scans: Collection[str], step: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for scan in scans:
        found[_key(scan, step)].append(scan)
    return found


def explained(unknown: Sequence[str], scans: Collection[str]) -> str:
    """The names that fit no scan, each with the likely reason, and what there is."""
    words = []
    for name in unknown[:SHOWN]:
        near = [near for near in difflib.get_close_matches(name, scans, cutoff=0.7) if _letters(near) != _letters(name)]
        number = re.fullmatch(r"\d+([.,]\d+)?[eE]\+?\d+", name)
        why = " (a spreadsheet has rounded it)" if number else f" (is it {near[0]}?)" if near else ""
        words.append(f"'{name}'{why}")
    more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    return f"{', '.join(words)}{more}; there are {listed(sorted(scans), 3)}. Correct or remove them"


def _letters(name: str) -> str:
    """The name without its digits, which tell scans apart."""
    return re.sub(r"\d+", "0", name)


def _refuse_two_names(source: Path, found: dict[str, str]) -> None:
    names: dict[str, dict[str, str]] = defaultdict(dict)
    for name, scan in found.items():
        names[scan].setdefault(_key(name, SURE[-1]), name)
    for scan, spellings in names.items():
        if len(spellings) > 1:
            written = " and ".join(f"'{name}'" for name in spellings.values())
            refuse(CaseError(source, f"{written} may both be {scan}; write one name for it"))
