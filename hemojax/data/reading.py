"""What the files of scans do not say of themselves, and the config does."""

from typing import NamedTuple

from ml_collections import ConfigDict

from hemojax.data import intensity, orientation
from hemojax.errors import UserError


class Reading(NamedTuple):
    """How scans are read: the options of the same names in the config's data section.

    Attributes:
        intensity: what their values are, see `data.intensity.parse`.
        axes: the order of arrays whose files do not say it, one of `orientation.ORDERS`; "": the layout's own.
        resample_masks: whether a mask on another grid than its scan's is resampled to it.
        contradictions: what counts where table and masks contradict each other in most scans, see `agreement.CHOICES`.
    """

    intensity: str = "hu"
    axes: str = ""
    resample_masks: bool = False
    contradictions: str = "refuse"


PLAIN = Reading()
"""Scans in HU that say what is to be known."""


def of_config(data: ConfigDict) -> Reading:
    """How the config says that scans are read.

    Raises:
        UserError: an option has a value that is not known.
    """
    intensity.parse(data.intensity)
    if data.axes and data.axes not in orientation.ORDERS:
        raise UserError(
            f"--config.data.axes={data.axes}: give towards which side the index of each axis grows, one letter each of "
            "R or L, A or P, and S or I, such as LPS"
        )
    return Reading(data.intensity, data.axes, data.resample_masks, data.contradictions)
