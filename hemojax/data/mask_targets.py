"""Whether the masks of a prepared data set hold what maps are to be scored against, found before training."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from hemojax.data.case import BOXED, SPLITS
from hemojax.data.refusals import refuse
from hemojax.errors import UserError, listed
from hemojax.progress import say


def check(index: pd.DataFrame, masks: Mapping[str, Sequence[int]], *, scored: bool) -> None:
    """Refuse masks that hold none of the integers asked for, and a data set on which no map can be scored.

    Args:
        index: of the records, all splits; `drawn` has the integers of each slice, see `case.drawn_in`.
        masks: the mask targets, see `data.masks` of the config.
        scored: whether maps will be scored: a run that only trains needs no mask at all.

    Raises:
        UserError: see above; or validation or test has no slice in which a target is drawn.
    """
    held = Counter(int(value) for drawn in index["drawn"] for value in drawn)
    for name, asked in masks.items():
        if held and not held.keys() & set(asked) and (scored or BOXED not in asked):
            refuse(UserError(_not_held(name, asked, held)))
    if not held:
        line = "no mask or box is drawn in this data set: maps cannot be scored"
        if scored:
            refuse(UserError(f"{line}; draw masks, or only train: --config.task=train"))
        else:
            say(line)
        return
    others = {value for value in held if not any(value in asked for asked in masks.values())} - {BOXED}
    if others:
        alone = sum(bool(len(drawn)) and others.issuperset(drawn) for drawn in index["drawn"])
        also = f"; in {alone} slices nothing else is drawn, and they count as haemorrhage" if alone else ""
        say(f"no target of --config.data.masks names these integers of the masks: {_integers(others)}{also}")
    for split in SPLITS[1:]:
        drawn = [set(values) for values in index.loc[index["split"] == split, "drawn"]]
        bare = [name for name, asked in masks.items() if not any(values & set(asked) for values in drawn)]
        if bare and scored and len(bare) == len(masks):
            refuse(
                UserError(
                    f"split '{split}' has no slice in which {' or '.join(bare)} of --config.data.masks is drawn, on "
                    "which maps are scored; draw more masks, or set the column 'split' of slices.csv"
                )
            )
        elif bare:
            say(f"split '{split}' has no slice in which {' or '.join(bare)} of --config.data.masks is drawn")


def _not_held(name: str, asked: Sequence[int], held: Mapping[int, int]) -> str:
    option = f"--config.data.masks.{name}"
    if set(asked) == {BOXED}:
        return f"{option}={tuple(asked)}: asks for boxes, and there is no boxes.csv; leave this target out"
    values = sorted(set(held) - {BOXED})
    there = f"hold {_integers(values)}" if values else "hold nothing, only boxes are there"
    example = ",".join(map(str, values[:8] or [BOXED]))
    return (
        f"{option} asks for {_integers(asked)}, and the masks {there}; ask for what they hold: {option}='({example},)'"
    )


def _integers(values: Sequence[int] | set[int]) -> str:
    return listed(sorted(values), 12)
