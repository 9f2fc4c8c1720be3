"""From the config's data section to prepared records."""

from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from hemojax.data import grey, origins, reading, records
from hemojax.data.datasets import LAYOUTS, WITHOUT_MASKS, recognition
from hemojax.data.listing import Listing
from hemojax.data.patients import Patients
from hemojax.data.phantom.dataset import write_phantom
from hemojax.data.pseudonyms import PRIVATE, Pseudonyms
from hemojax.errors import UserError, check_name
from hemojax.progress import say

DEALING = ("patient_pattern", "stratify", "split_seed", "folds", "fold")
"""Options of the data section that decide patients and splits."""


class DataSet(NamedTuple):
    """A data set as the config's data section names it.

    Attributes:
        root: its folder.
        layout: a key of `LAYOUTS`, or "phantom".
        subtypes: mask integers of each.
        how: its scans are read.
        patients: whose they are.
        pseudonyms: under which digests the cases go; None: under their names.
    """

    root: Path
    layout: str
    subtypes: dict[str, tuple[int, ...]]
    how: reading.Reading
    patients: Patients
    pseudonyms: Pseudonyms | None

    def listing(self) -> Listing:
        """Its cases, of which each is read with its patient.

        Raises:
            CaseError: tables, names or masks contradict each other.
        """
        cases = LAYOUTS["generic" if self.layout == "phantom" else self.layout]
        found = self.patients.of(cases(self.root, self.subtypes, self.how))
        return found if self.pseudonyms is None else self.pseudonyms.of(found)


def data_set(data: ConfigDict, folder: Path) -> DataSet:
    """The data set of a config's data section; a phantom is generated unless it is there.

    Args:
        data: the section.
        folder: of the records; a phantom is generated beside it, where the config names no folder.

    Raises:
        UserError: the layout is unknown, or the folder is not given.
    """
    check_name(data.layout, (*LAYOUTS, recognition.AUTO, "phantom"), "layout")
    root = Path(data.root) if data.root else folder.with_name("phantom")
    if data.layout == "phantom":
        say(f"phantom of {data.phantom.cases} cases in {root}")
        write_phantom(root, **data.phantom)
    elif not data.root:
        raise UserError("name the folder of the data set: --config.data.root=FOLDER")
    return DataSet(
        root=root,
        layout=_layout(data.layout, root, folder),
        subtypes={name: tuple(values) for name, values in data.subtypes.items()},
        how=reading.of_config(data),
        patients=Patients(data.patients, data.patient_pattern),
        pseudonyms=Pseudonyms(folder.with_name(PRIVATE)) if data.hash_names else None,
    )


def dealing(data: ConfigDict) -> dict[str, Any]:
    """How patients are dealt, see `splits.SplitAssigner`."""
    return {"stratify": data.stratify, "seed": data.split_seed, "folds": data.folds, "fold": data.fold}


def prepare(config: ConfigDict, folder: Path) -> None:
    """Generate the phantom if the config asks for it, and write the records and grey slices unless they are there.

    Args:
        config: the run's config.
        folder: of the records; a phantom is generated beside it, where the config names no folder.

    Raises:
        UserError: the layout is unknown, the folder is not given, or a case is not usable.
    """
    data = config.data
    found = data_set(data, folder)
    root, subtypes, how, patients = found.root, found.subtypes, found.how, found.patients
    if found.layout in WITHOUT_MASKS and config.task == "bench":
        raise UserError(
            f"{root}: the data set {found.layout} has no masks, maps cannot be scored: set --config.task=train"
        )
    fingerprint = {
        "layout": found.layout,
        "root": str(root.resolve()),
        "subtypes": subtypes,
        "reading": how._asdict(),
        "fractions": data.fractions.to_dict(),
        "phantom": data.phantom.to_dict() if data.layout == "phantom" else None,
        **{name: data[name] for name in DEALING},
        "patients_table": patients.digest,
        **({} if found.pseudonyms is None else {"names": found.pseudonyms("")}),  # earlier versions do not name it
    }
    skip, tree = data.on_error == "skip", origins.tree(root) if root.exists() else None
    if not records.stand(folder, fingerprint, tree, skip=skip):
        records.prepare(folder, found.listing(), data.fractions.to_dict(), fingerprint, skip=skip, **dealing(data))
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
