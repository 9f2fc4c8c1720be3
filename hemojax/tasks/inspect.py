"""Before anyone trains: what a data set holds, and all that forbids to train on it."""

import math
from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console

from hemojax import results
from hemojax.data import census
from hemojax.data.labels import LABELS
from hemojax.errors import UserError, check_name
from hemojax.progress import say
from hemojax.reporting import contact_sheet, figures, inspection, report
from hemojax.run import Run


def inspect(config: ConfigDict, workdir: Path) -> None:
    """Read all of a data set as preparation does, print what it holds, and write it to the folder.

    Writes `<workdir>/inspect.json`, which has more of each case, and `<workdir>/inspect.png`, the middle slice of at
    most `census.SHOWN` cases. Nothing is prepared.

    Raises:
        UserError: the data set cannot be trained on; every reason was printed before.
    """
    for label in (*config.data.labels, *config.data.stratify):
        check_name(label, LABELS, "data.labels")
    taken = census.take(config.data, Run(config, workdir).records)
    found = census.described(taken, skip=config.data.on_error == "skip", private=config.data.hash_names)
    results.write_json(workdir / "inspect.json", found)
    middles = {name: look.middle for name, look in taken.looks.items() if look.middle is not None}
    tiles = [_tile(name, middle) for name, middle in middles.items()]
    figures.write_figure(workdir / "inspect.png", contact_sheet.draw(tiles))
    report.show(Console(), inspection.content(found))
    problems = [*taken.refused, *taken.faults.values()]
    for kind, lines in (("note", taken.said), ("not scored", taken.unscored), ("problem", problems)):
        for line in lines:
            say(f"{kind}: {line}")
    say(f"more of each case: {workdir / 'inspect.json'}; a slice of each: {workdir / 'inspect.png'}")
    if not found["trainable"]:
        number = len(problems)
        raise UserError(
            f"{config.data.root or config.data.layout}: cannot be trained on, {number} problem{'s' * (number > 1)} "
            f"(see above, or {workdir / 'inspect.json'})"
        )
    say(f"can be trained on{'' if found['scorable'] else '; maps cannot be scored: --config.task=train'}")


def _tile(name: str, middle: census.Middle) -> contact_sheet.Tile:
    i, j = middle.spacing
    aspect = i / j if math.isfinite(i / j) else 1.0
    return contact_sheet.Tile(f"{name}, slice {middle.number}", middle.hu, middle.drawn, aspect)
