"""Which planes make one volume, and which volume of a study is meant where nobody says."""

import dataclasses
import hashlib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int16
from nibabel.nifti1 import Nifti1Image

from hemojax.data.case import CaseError
from hemojax.data.dicom import headers, pixels
from hemojax.data.dicom.headers import Plane, Unreadable
from hemojax.errors import listed

DOUBLED_MM = 0.05
"""Planes that lie closer stand at one place."""
UNEVEN_MM = 0.15
"""Positions are written rounded: steps that differ by less are one step."""
UNEVEN = 0.05
"""And by less than this share of the step."""
MOST_STACKS = 4
"""A series that falls into more evenly spaced stacks has no spacing."""
NAMED = 3
"""So many files are named where many have one fault."""
FEWEST = 3
"""Slices of a volume, where acquisitions stand at the same places."""
PARALLEL = 2e-3
"""Of direction cosines that are the same."""
HEAD = ("", "HEAD", "BRAIN", "SKULL", "HEADNECK")
_SHARP_WORDS = re.compile(r"BONE|EDGE|LUNG|SHARP|DETAIL|ULTRA|HIGH|^(D|E|L|YA|YB|YC|YD|YE)$")
_SHARP_NUMBERS = (
    re.compile(r"^[BHJ][A-Z]?([5-9]\d)"),  # Siemens: H30s is soft, H60s and Hr68 are sharp
    re.compile(r"^FC(3\d|5\d|8\d)"),  # Canon and Toshiba
)


@dataclasses.dataclass(frozen=True)
class Stack:
    """Evenly spaced parallel planes: one volume.

    Attributes:
        name: made of the series' UID by a hash; a number behind it, where the series gives several stacks.
        planes: in the order of the normal of the planes, which is the cross product of their two directions.
        fault: why it cannot be read, or "".
    """

    name: str
    planes: tuple[Plane, ...]
    fault: str = ""


@dataclasses.dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        stacks: the chosen ones by name; those with a fault too, where their study has no others.
        notes: what was left out, and why; what was seen. A line each.
    """

    stacks: dict[str, Stack]
    notes: tuple[str, ...]


def find(path: Path, *, every_series: bool = False) -> Found:
    """The volumes of a folder, or of the folder of a DICOMDIR.

    Of each study one reconstruction is chosen: of the head rather than of another part of the body, then of a soft
    kernel, then without contrast agent, then the one with most slices.

    Args:
        path: the folder or the DICOMDIR; or one file, which is then taken alone.
        every_series: not one of each study, but every one that is an axial CT.

    Raises:
        CaseError: nothing in it is an axial CT.
    """
    folder = path.parent if path.name.upper() == "DICOMDIR" else path
    planes, notes = _planes([path] if folder.is_file() else headers.files(folder))
    usable = [plane for plane in planes if not plane.left_out]
    left_out = Counter(plane.left_out for plane in planes if plane.left_out)
    notes += [f"{_many(number, 'image')} left out: {reason}" for reason, number in sorted(left_out.items())]
    studies: dict[str, list[list[Stack]]] = defaultdict(list)
    for _, group in itertools.groupby(sorted(usable, key=lambda plane: plane.series), lambda plane: plane.series):
        reconstructions, said = _series(list(group))
        notes += said
        for stacks in reconstructions:
            studies[stacks[0].planes[0].study].append(stacks)
    chosen: dict[str, Stack] = {}
    for study in studies.values():
        sound = [stacks for stacks in study if not any(stack.fault for stack in stacks)] or study
        best = max(sound, key=_preference)
        taken = study if every_series else [best]
        for stacks in study:
            if stacks in taken:
                chosen |= {stack.name: stack for stack in stacks}
            else:
                why = stacks[0].fault or f"{best[0].name} of the same study is taken"
                notes.append(f"{stacks[0].name} ({_described(stacks)}) left out: {why}")
    if not chosen:
        raise CaseError(path, f"holds no axial head CT in DICOM{''.join(f'; {note}' for note in notes)}")
    return Found(chosen, tuple(notes))


def read(stack: Stack) -> tuple[Int16[np.ndarray, "h w n"], Nifti1Image]:
    """The volume of a stack in HU and an image with its affine, see `pixels.read`.

    Raises:
        CaseError: the stack has a fault, or its pixels have.
    """
    if stack.fault:
        raise CaseError(Path(stack.name), stack.fault)
    return pixels.read(stack.name, stack.planes)


def _planes(paths: Iterable[Path]) -> tuple[list[Plane], list[str]]:
    planes, others, unreadable = [], Counter[str](), defaultdict[str, list[str]](list)
    for path in paths:
        try:
            found = headers.planes(path)
        except Unreadable as error:
            unreadable[str(error)].append(path.name)
            continue
        if not found and path.name.upper() != "DICOMDIR":
            others[path.suffix.lower() or "without an ending"] += 1
        planes += found
    notes = [f"{listed(names, NAMED)} left out: {reason}" for reason, names in unreadable.items()]
    if others:
        kinds = ", ".join(f"{number} {ending}" for ending, number in sorted(others.items()))
        notes.append(f"{_many(others.total(), 'file')} left out: no DICOM ({kinds})")
    return planes, notes


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _series(planes: list[Plane]) -> tuple[list[list[Stack]], list[str]]:
    """The reconstructions of one series, each a list of stacks; and what there is to say of them."""
    name = f"ct-{hashlib.sha256(planes[0].series.encode()).hexdigest()[:12]}"
    notes: list[str] = []
    found = []
    for group in _alike(planes):
        tilt = abs(float(_normal(group[0])[2]))
        if tilt < np.sqrt(0.5):
            notes.append(f"{name}: {_many(len(group), 'image')} left out: not axial")
            continue
        try:
            single, again = _without_doubles(group)
            notes += [f"{name}: {_many(again, 'double')} left out"] if again else []
            for planes in single:
                stacks, said = _even(planes)
                found.append([Stack(name, tuple(stack)) for stack in stacks])
                notes += [f"{name}: {line}" for line in said]
        except Unreadable as error:
            found.append([Stack(name, tuple(group), str(error))])
    if sum(map(len, found)) > 1:
        number = itertools.count(1)
        found = [[dataclasses.replace(stack, name=f"{name}-{next(number)}") for stack in stacks] for stacks in found]
    return found, notes


def _alike(planes: Iterable[Plane]) -> list[list[Plane]]:
    """Planes of one study, kernel, shape and spacing, and parallel; of a multi-frame file, planes of that file."""
    groups: list[list[Plane]] = []
    for plane in planes:
        for group in groups:
            if _key(group[0]) == _key(plane) and np.allclose(group[0].orientation, plane.orientation, atol=PARALLEL):
                group.append(plane)
                break
        else:
            groups.append([plane])
    return groups


def _key(plane: Plane) -> tuple[object, ...]:
    spacing = tuple(round(mm, 4) for mm in plane.spacing)
    return plane.study, plane.kernel, plane.shape, spacing, plane.path if plane.multi_frame else None


def _normal(plane: Plane) -> Float[np.ndarray, " 3"]:
    return np.cross(*np.reshape(plane.orientation, (2, 3)))


def _without_doubles(planes: list[Plane]) -> tuple[list[list[Plane]], int]:
    """In order, one plane at each place: acquisitions are told apart, of doubles that hold the same one is kept.

    Returns:
        The planes of each acquisition, or of all; and how many doubles were left out.

    Raises:
        Unreadable: two different planes stand at one place.
    """
    planes = _sorted(planes)
    if not _doubles(planes):
        return [planes], 0
    if acquisitions := _acquisitions(planes):
        return acquisitions, 0
    kept: list[Plane] = []
    differ: list[Plane] = []
    for place in _places(planes):
        distinct: list[Plane] = []
        for plane in place:
            if not any(pixels.same(other, plane) for other in distinct):
                distinct.append(plane)
        kept += distinct
        differ = differ or (distinct[1:] and distinct)
    again = len(planes) - len(kept)
    if not differ:
        return [kept], again
    if acquisitions := _acquisitions(kept):
        return acquisitions, again
    raise Unreadable(f"images {differ[0].number} and {differ[1].number} differ and stand at one place; keep one")


def _acquisitions(planes: list[Plane]) -> list[list[Plane]]:
    """The planes of each acquisition, if each is a volume; else none: some scanners count every slice as one."""
    parts = defaultdict(list)
    for plane in planes:
        parts[plane.acquisition].append(plane)
    volumes = len(parts) > 1 and not any(_doubles(part) or len(part) < FEWEST for part in parts.values())
    return [parts[number] for number in sorted(parts)] if volumes else []


def _sorted(planes: list[Plane]) -> list[Plane]:
    normal = _normal(planes[0])
    return sorted(planes, key=lambda plane: (float(np.dot(plane.position, normal)), plane.number))


def _places(planes: list[Plane]) -> list[list[Plane]]:
    """Planes in order, those that stand at one place together."""
    along = np.array([plane.position for plane in planes]) @ _normal(planes[0])
    starts = [0, *(np.flatnonzero(np.diff(along) >= DOUBLED_MM) + 1).tolist(), len(planes)]
    return [planes[start:stop] for start, stop in itertools.pairwise(starts)]


def _doubles(planes: list[Plane]) -> bool:
    return len(_places(planes)) < len(planes)


def _even(planes: list[Plane]) -> tuple[list[list[Plane]], list[str]]:
    """The evenly spaced stacks of planes in order, and what is said of the places between them.

    Raises:
        Unreadable: they fall into too many; or do not lie on a line; or a single plane has no thickness.
    """
    positions = np.array([plane.position for plane in planes])
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    cuts, notes = [], []
    for k, step in enumerate(steps):
        around = [float(other) for other in (*steps[max(k - 1, 0) : k], *steps[k + 1 : k + 2])]
        base = min(around, default=step)
        if step - base > max(UNEVEN_MM, UNEVEN * base):
            cuts.append(k + 1)
            missing = round(step / base) - 1
            whole = abs(step / base - missing - 1) < UNEVEN and max(around) - base <= max(UNEVEN_MM, UNEVEN * base)
            between = f"between images {planes[k].number} and {planes[k + 1].number}"
            notes.append(
                f"{_many(missing, 'slice')} missing {between}; each part is a stack of its own"
                if whole
                else f"the spacing changes from {base:.2f} to {step:.2f} mm {between}; each part is a stack of its own"
            )
    if len(cuts) >= MOST_STACKS:
        raise Unreadable(
            f"its slices lie from {steps.min():.2f} to {steps.max():.2f} mm apart, without an even spacing"
        )
    stacks = [planes[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(planes)])]
    for stack in stacks:
        _check_line(stack)
    return stacks, notes


def _check_line(planes: list[Plane]) -> None:
    if len(planes) == 1 and not planes[0].distance > 0:
        raise Unreadable(f"image {planes[0].number} lies alone and has no slice thickness")
    positions = np.array([plane.position for plane in planes])
    ideal = np.linspace(positions[0], positions[-1], len(planes))
    off = float(np.linalg.norm(positions - ideal, axis=1).max())
    allowed = max(UNEVEN_MM, min(planes[0].spacing))
    if off > allowed:
        raise Unreadable(f"its slices lie up to {off:.2f} mm beside an even line")


def _preference(stacks: Sequence[Stack]) -> tuple[bool, bool, bool, int]:
    plane = stacks[0].planes[0]
    head = plane.body_part.upper().strip() in HEAD
    return head, is_soft(plane.kernel), not plane.contrast, sum(len(stack.planes) for stack in stacks)


def is_soft(kernel: str) -> bool:
    """Whether a reconstruction kernel is one for soft tissue, as far as its name tells: sharp ones show noise."""
    name = kernel.upper().strip()
    return not (_SHARP_WORDS.search(name) or any(pattern.match(name) for pattern in _SHARP_NUMBERS))


def _described(stacks: Sequence[Stack]) -> str:
    plane = stacks[0].planes[0]
    number = sum(len(stack.planes) for stack in stacks)
    return f"{_many(number, 'slice')}, {'soft' if is_soft(plane.kernel) else 'sharp'} kernel"
