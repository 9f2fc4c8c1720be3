"""Small result tables, worked out by hand."""

import numpy as np
import pandas as pd

PATIENTS = {"validation": ["a", "a", "b"], "test": ["c", "c", "d", "e"]}
THRESHOLDS = np.float32([0.3, 0.5, 0.7])
BOXES = ["box_tp", "box_fp", "box_fn", "box_loose", "box_strict", "box_best"]
COUNTED = ["tp", "fp", "fn", *BOXES]
TYPES = dict.fromkeys(["tp", "fp", "fn"], "int32") | dict.fromkeys(["box_tp", "box_fp", "box_fn"], "Int32")
TYPES |= dict.fromkeys(["box_loose", "box_strict"], "boolean") | {"box_best": "float32"}


def counts_table(method, counts, *, split="test", stage="s", seed=0, mask="m", boxes=None, baseline=False):
    """A counts table of one map. `counts` is (slices, thresholds, 3): tp, fp, fn; `boxes` (slices, 6)."""
    table = []
    for place, (patient, slice_counts) in enumerate(zip(PATIENTS[split], counts, strict=False)):
        for threshold, (tp, fp, fn) in zip(THRESHOLDS, slice_counts, strict=True):
            row = {"run": "r", "case": f"{split} {patient}", "patient": patient, "slice": place, "split": split}
            row |= {"stage": stage, "method": method, "seed": seed, "mask": mask, "threshold": threshold}
            row |= {"target": "any", "size": 64, "tp": tp, "fp": fp, "fn": fn, "baseline": baseline}
            table.append(row | dict(zip(BOXES, [None] * 6 if boxes is None else boxes[place], strict=True)))
    return pd.DataFrame(table).astype(TYPES | {"seed": "int16", "threshold": "float32", "size": "int16"})


def maps_table(counts, otsu=0.7, **figures):
    """The maps table of a counts table: Otsu's threshold is the one named, and the other figures are given."""
    at = counts[counts["threshold"] == np.float32(otsu)].rename(columns={"threshold": "otsu"})
    at = at.rename(columns={name: f"otsu_{name}" for name in COUNTED})
    defaults = {"pointing": True, "pointing_near": True, "energy": 0.5, "rank": 0.5, "auroc": 0.5, "ap": 0.5}
    return at.assign(**(defaults | figures)).reset_index(drop=True)


def lesions_table(counts, called=True):
    """The lesions table of a counts table: the area is the number of the slice's pixels in the mask."""
    rows = counts.drop_duplicates(["case", "slice", "mask"])
    area = (rows["tp"] + rows["fn"]).astype(float)
    rows = rows[["run", "case", "patient", "slice", "split", "mask"]]
    return rows.assign(area=area.astype(int), area_mm2=area, subtypes="", truth=1, called=called).reset_index(drop=True)


def random_counts(rng, slices, scale=1.0):
    """Counts at three thresholds, true positives falling."""
    counts = rng.integers(1, 100, (slices, 3, 3))
    counts[..., 0] = np.sort(scale * counts[..., 0], axis=1)[:, ::-1]
    return counts


def four_methods():
    """Two methods, RandomCAM with three seeds and a baseline, all with boxes, on 3 validation and 4 test slices."""
    rng = np.random.default_rng(3)
    parts = []
    for split, patients in PATIENTS.items():
        n = len(patients)
        for method, seeds, scale in (("good", 1, 5), ("poor", 1, 1), ("randomcam", 3, 1), ("brain", 1, 9)):
            for seed in range(seeds):
                boxes = np.concatenate([rng.integers(1, 50, (n, 3)), rng.integers(0, 2, (n, 2)), rng.random((n, 1))], 1)
                counts = random_counts(rng, n, scale)
                options = {"split": split, "seed": seed, "boxes": boxes, "baseline": method == "brain"}
                parts.append(counts_table(method, counts, **options))
    return pd.concat(parts, ignore_index=True)


def only(frame, **wanted):
    """The one row with these values."""
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    (row,) = frame.to_dict("records")
    return row
