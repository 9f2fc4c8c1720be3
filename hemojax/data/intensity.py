"""Whether a scan's values are HU, and how they become HU where they are not.

What a scan cannot be without is looked at in its histogram, padding left out: air at about -1000 HU, or bone and fat
where the head was cropped, and soft tissue between 0 and 100 HU. The rules are lax: a head may be cropped, may lie in a
large field of view, may lack its skull or hold metal.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int16, Shaped

from hemojax.data.case import CaseError
from hemojax.errors import UserError

AIR = -1024
"""No tissue has less HU; scanners write less outside of their field of view."""
_PADDING = -1300  # below air and its noise
_TOP = 3071  # HU that 12 bits hold; metal beyond it counts as this
_FORMS = "hu, windowed, offset1024 (or another number), grey:CENTRE:WIDTH (of the window, in HU)"


class Intensity(NamedTuple):
    """What the values of a scan are.

    Attributes:
        kind: "hu"; "windowed", HU of which all beyond a window was set to the window's ends; "offset", HU to which a
            number was added; "grey", a window's grey values from 0 to 1 or from 0 to 255.
        offset: what was added, HU.
        window: centre and width, HU.
    """

    kind: str
    offset: float = 0.0
    window: tuple[float, float] = (0.0, 1.0)


def parse(text: str) -> Intensity:
    """The option `data.intensity`.

    Raises:
        UserError: it is not one of the forms that there are.
    """
    number = r"-?\d+(?:\.\d*)?"
    if text in ("hu", "windowed"):
        return Intensity(text)
    if found := re.fullmatch(rf"offset({number})", text):
        return Intensity("offset", offset=float(found[1]))
    if (found := re.fullmatch(rf"grey:({number}):({number})", text)) and float(found[2]) > 0:
        return Intensity("grey", window=(float(found[1]), float(found[2])))
    raise UserError(f"--config.data.intensity={text}: give {_FORMS}")


def to_hu(path: Path, array: Shaped[np.ndarray, "h w n"], intensity: str = "hu") -> Int16[np.ndarray, "h w n"]:
    """A scan's values in HU, rounded to integers; padding below -1024 becomes -1024.

    Args:
        path: of the scan, for the message.
        array: the values.
        intensity: what they are, see `parse`.

    Raises:
        CaseError: values are not finite, not numbers, beyond what 16 bits hold, or not what `intensity` says.
    """
    if array.dtype.kind not in "iuf":
        raise CaseError(path, f"holds values of type {_kind(array.dtype)}, numbers in HU were expected")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise CaseError(path, f"{bad} voxels are NaN or infinite; repair or remove this scan")
    given, low, high = parse(intensity), float(array.min()), float(array.max())
    if low < -32768 or high > 32767:
        raise CaseError(path, f"values from {low:g} to {high:g} are no HU")
    if given.kind == "grey":
        if low < 0 or high > 255 or 1 < high < 128:  # brain alone is brighter than half of a window's greys
            raise CaseError(path, f"values from {low:g} to {high:g} are no grey values from 0 to 1 or from 0 to 255")
        if np.median(array[[0, -1]]) == high > low:
            raise CaseError(path, f"air is white: the edge of its slices is at {high:g}; turn the grey values over")
        centre, width = given.window
        unit = np.float32(width / (255 if high > 1 else 1))
        array = array.astype(np.float32) * unit + np.float32(centre - width / 2)
    elif high - low < 30:  # not even a narrow window
        raise CaseError(
            path,
            f"values from {low:g} to {high:g} are no HU; if they are grey values of a window, give its centre and "
            "width in HU: --config.data.intensity=grey:CENTRE:WIDTH",
        )
    if given.offset:
        array = array - np.float32(given.offset)
    values = np.rint(array) if array.dtype.kind == "f" else array
    step = max(1, max(array.shape) // 256)  # a part of the pixels shows what they are
    if reason := _fault(values[::step, ::step].astype(np.int64), clipped=given.kind in ("windowed", "grey")):
        raise CaseError(path, f"read with --config.data.intensity={intensity}, {reason}")
    wide = values.astype(np.promote_types(values.dtype, np.int16), copy=False)
    return np.clip(wide, AIR, 32767).astype(np.int16)


def _fault(values: Int[np.ndarray, "*shape"], clipped: bool) -> str:
    """Why these cannot be HU, with what was seen and how to say otherwise; "" where nothing speaks against it.

    Args:
        values: rounded.
        clipped: whether a window may have been applied.
    """
    padding = values[values < _PADDING]
    if padding.size > 0.01 * values.size:
        kinds, times = np.unique(padding, return_counts=True)
        if times.max() < 0.5 * padding.size:  # padding is one number
            return (
                f"{100 * padding.size / values.size:.0f} % of the voxels, from {kinds[0]} to {kinds[-1]}, lie "
                "below air; convert the scan again with its rescale slope and intercept"
            )
    kept = np.clip(values[values >= _PADDING], AIR, _TOP)
    counts: Int[np.ndarray, " levels"] = np.bincount(kept - AIR, minlength=_TOP - AIR + 1)

    def number(first: int, last: int) -> int:
        """Voxels from `first` to `last` HU, without padding."""
        return int(counts[first - AIR : last - AIR + 1].sum())

    if not kept.size:
        return "all voxels are padding; remove this scan"
    lowest, highest = int(kept.min()), int(kept.max())
    below, padded = number(AIR, -201), padding.size > 0.1 * values.size
    if below < 1e-3 * kept.size:  # no air: cropped or padded to the head, or no HU
        tissue = number(1010, 1100)
        if tissue > number(200, 800) and tissue > 0.01 * kept.size:
            at = 1010 + int(np.searchsorted(counts[1010 - AIR : 1101 - AIR].cumsum(), tissue / 2))
            added = min((1000, 1024), key=lambda added: abs(at - 35 - added))  # of which brain lies at about 35 HU
            return (
                f"soft tissue lies at about {at} and no air below 0: the rescale intercept is missing; say so: "
                f"--config.data.intensity=offset{added}"
            )
        if lowest >= 0 and highest in (254, 255):
            return (
                f"values from {lowest} to {highest} are grey values of a window; give its centre and width in HU: "
                "--config.data.intensity=grey:CENTRE:WIDTH"
            )
        fat, bone = number(AIR, -51) >= 1e-3 * kept.size, highest > 300
        if not (clipped or (bone and (fat or padded))):
            ends = " and ".join(f"{100 * number(end, end) / kept.size:.0f} % at {end}" for end in (lowest, highest))
            return (
                f"values from {lowest} to {highest} ({ends}) hold neither air nor {'bone' if fat else 'fat'}: no HU, "
                "or a window was applied to HU; then say so: --config.data.intensity=windowed"
            )
    elif not padded and below > 0.1 * kept.size and number(AIR, -900) < 0.02 * below:
        at = AIR + int(np.searchsorted(counts.cumsum(), below / 2))
        if at > -800:
            return f"air lies at about {at} HU, not at -1000; convert the scan again with its rescale slope"
    head = number(max(-899, lowest + clipped), highest - clipped)
    if number(1, 100) <= 0.1 * head:
        return (
            f"values from {values.min()} to {values.max()} hold hardly any soft tissue, which lies between 0 and "
            f"100 HU; convert the scan again with its rescale slope and intercept, or give data.intensity: {_FORMS}"
        )
    return ""


def _kind(dtype: np.dtype) -> str:
    return "colour (RGB)" if dtype.names else str(dtype)
