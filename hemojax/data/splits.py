"""Which split each patient is in: as the data set says, or dealt; never two splits for one patient."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hemojax.data.case import SPLITS, Case
from hemojax.data.labels import LABELS
from hemojax.data.refusals import refuse
from hemojax.errors import UserError
from hemojax.files import replacing
from hemojax.progress import say

COLUMNS = ["case", "patient", "split"]
"""Of the table that `write_splits` makes, which `--config.data.patients` takes."""

ALL = "all"
"""The stratum of every patient."""


class SplitAssigner:
    """Gives each patient without a split the one that is furthest below its share.

    Patients with and without haemorrhage are dealt separately, so that every split has its share of both. With more
    labels to stratify by, a patient goes where those with its labels are missing most, all its labels added up.

    Args:
        fractions: share of each split; they need not add up to 1.
        stratify: the labels (of LABELS) of which every split shall have its share.
        seed: 0 deals in the order in which the patients come; another number draws among splits that lack a patient.
        folds: into how many equal folds all patients are dealt instead, each a test set once; 0: none.
        fold: the one that is the test split; the next one, or the first after the last, is the validation split.
    """

    def __init__(
        self,
        fractions: Mapping[str, float],
        *,
        stratify: Sequence[str] = ("any",),
        seed: int = 0,
        folds: int = 0,
        fold: int = 0,
    ):
        self._split_of = {split: split for split in SPLITS}
        self._shares = {split: fractions[split] for split in SPLITS}
        self._folds = folds
        if folds:
            kinds = {fold: "test", (fold + 1) % folds: "validation"}
            self._split_of = {str(n): kinds.get(n, "train") for n in range(folds)}
            self._shares = dict.fromkeys(self._split_of, 1 / folds)
        self._stratify = stratify
        self._draw = np.random.default_rng(seed).random if seed else lambda: 0.0
        self._dealt: dict[Hashable, Counter[str]] = defaultdict(Counter)
        self._of: dict[str, str] = {}

    def __call__(self, case: Case) -> str:
        """The split of the case's patient.

        Raises:
            UserError: the data set gives two cases of one patient different splits.
        """
        given = None if self._folds else case.split
        if case.split and self._folds and not self._of:
            say(f"--config.data.folds={self._folds} deals all patients; the splits of the data set do not count")
        known = self._of.get(case.patient)
        if known and given and known != given:
            refuse(UserError(f"patient {case.patient} is in several splits: {known}, {given}"))
        if known:
            return self._split_of[known]
        strata = self._strata(case)
        chosen = given or max(self._shares, key=lambda name: self._lack(name, strata))
        for stratum in {*strata, ALL}:
            self._dealt[stratum][chosen] += 1
        self._of[case.patient] = chosen
        return self._split_of[chosen]

    def _strata(self, case: Case) -> list[Hashable]:
        there = {label: bool((case.labels[:, LABELS.index(label)] == 1).any()) for label in self._stratify}
        return [(label, found) for label, found in there.items() if found or label == "any"] or [ALL]

    def _lack(self, name: str, strata: Sequence[Hashable]) -> tuple[float, float]:
        """How much a split lacks such a patient; of folds that lack it alike, one with fewer patients does more."""
        return self._missing(name, strata) + self._draw(), self._missing(name, [ALL]) if self._folds else 0.0

    def _missing(self, name: str, strata: Sequence[Hashable]) -> float:
        """How far a split is below its share of these patients, one more included."""
        return sum(self._shares[name] * (self._dealt[of].total() + 1) - self._dealt[of][name] for of in strata)


def check_splits(index: pd.DataFrame) -> None:
    """Refuse a data set on which nothing can be trained or measured.

    Raises:
        UserError: a split is empty, or has no positive or no negative slice.
    """
    for split in SPLITS:
        labels = index.loc[index["split"] == split, "any"] if len(index) else []
        for value, kind in ((1, "positive"), (0, "negative")):
            if not (np.asarray(labels) == value).any():
                why = "" if value else " (a slice without a row and without a mask is not known: write 0)"
                refuse(
                    UserError(
                        f"split '{split}' has no {kind} slice{why}: bring more patients, set the column 'split' of "
                        "slices.csv, or deal otherwise: --config.data.split_seed=1"
                    )
                )


def check_labels(index: pd.DataFrame, labels: Sequence[str]) -> None:
    """Refuse a label of which a split knows nothing, and say where it is never positive or never negative.

    Args:
        index: of the records, all splits.
        labels: that are learnt, of LABELS.

    Raises:
        UserError: names the label and the split.
    """
    for label, split in itertools.product(labels, SPLITS):
        known = index.loc[(index["split"] == split) & (index[label] >= 0), label]
        if known.empty:
            raise UserError(
                f"--config.data.labels: {label} is known for no slice of split '{split}'; give it in slices.csv, or "
                "choose other labels"
            )
        for value, kind in ((1, "positive"), (0, "negative")):
            if not (known == value).any():
                say(f"split '{split}' has no {kind} slice of {label}; it has no AUROC there")


def write_splits(path: Path, index: pd.DataFrame) -> None:
    """Write down the split of every case, a row each.

    Args:
        path: of the CSV table.
        index: of the records, all splits.
    """
    with replacing(path) as temporary:
        index[COLUMNS].drop_duplicates().sort_values(COLUMNS).to_csv(temporary, index=False)
