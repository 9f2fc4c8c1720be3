"""From the config's data section to prepared records."""

from pathlib import Path

from ml_collections import ConfigDict

from hemojax.data import grey, origins, reading, records
from hemojax.data.datasets import LAYOUTS, WITHOUT_MASKS, recognition
from hemojax.data.patients import Patients
from hemojax.data.phantom.dataset import write_phantom
from hemojax.errors import UserError, check_name
from hemojax.progress import say

DEALING = ("patient_pattern", "stratify", "split_seed", "folds", "fold")
"""Options of the data section that decide patients and splits."""


def prepare(config: ConfigDict, folder: Path) -> None:
    """Generate the phantom if the config asks for it, and write the records and grey slices unless they are there.

    Args:
        config: the run's config.
        folder: of the records; a phantom is generated beside it, where the config names no folder.

    Raises:
        UserError: the layout is unknown, the folder is not given, or a case is not usable.
    """
    data = config.data
    check_name(data.layout, (*LAYOUTS, recognition.AUTO, "phantom"), "layout")
    root = Path(data.root) if data.root else folder.with_name("phantom")
    if data.layout == "phantom":
        say(f"phantom of {data.phantom.cases} cases in {root}")
        write_phantom(root, **data.phantom)
    elif not data.root:
        raise UserError("name the folder of the data set: --config.data.root=FOLDER")
    layout = _layout(data.layout, root, folder)
    if layout in WITHOUT_MASKS and config.task == "bench":
        raise UserError(f"{root}: the data set {layout} has no masks, maps cannot be scored: set --config.task=train")
    listed = LAYOUTS["generic" if layout == "phantom" else layout]
    subtypes = {name: tuple(values) for name, values in data.subtypes.items()}
    how, patients = reading.of_config(data), Patients(data.patients, data.patient_pattern)
    fingerprint = {
        "layout": layout,
        "root": str(root.resolve()),
        "subtypes": subtypes,
        "reading": how._asdict(),
        "fractions": data.fractions.to_dict(),
        "phantom": data.phantom.to_dict() if data.layout == "phantom" else None,
        **{name: data[name] for name in DEALING},
        "patients_table": patients.digest,
    }
    skip, tree = data.on_error == "skip", origins.tree(root) if root.exists() else None
    if not records.stand(folder, fingerprint, tree, skip=skip):
        listing = patients.of(listed(root, subtypes, how))
        dealing = {"stratify": data.stratify, "seed": data.split_seed, "folds": data.folds, "fold": data.fold}
        records.prepare(folder, listing, data.fractions.to_dict(), fingerprint, skip=skip, **dealing)
        if tree is not None:
            records.remember(folder, tree)
    elif tree is None:
        say(f"{root}: is not there any more; its records are taken as they are")
    for fault in records.left_out(folder).values():
        say(f"left out: {fault}")
    grey.prepare(folder, data)


def _layout(name: str, root: Path, folder: Path) -> str:
    """The layout of that name; the one that is recognised, or of the records if the data set is gone."""
    if name != recognition.AUTO:
        return name
    return (not root.exists() and records.layout(folder)) or recognition.recognised(root)
