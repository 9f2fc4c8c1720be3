"""The slices that the report shows: typical, best and worst of the method chosen on validation."""

from typing import Any

import numpy as np
import pandas as pd

from hemojax.benchmark import full_maps, ground_truth
from hemojax.benchmark.explained import Explained
from hemojax.data import hounsfield, orientation
from hemojax.files import replacing
from hemojax.metrics import overlap
from hemojax.run import Run


def write(run: Run, explained: Explained, *, counts: pd.DataFrame, chosen: dict[str, Any]) -> None:
    """Write `results/gallery.npz` for `reporting.figures.gallery`: test slices, turned as they are looked at.

    Args:
        run: the run; `eval.gallery` slices of each kind are shown.
        explained: its explained slices.
        counts: the counts table.
        chosen: stage, method and threshold of each mask target, see `statistics.summary.choose`.
    """
    config, of_slice = run.config, ground_truth.Slices(run)
    places = {(row.case, row.slice): row for row in explained.slices.itertuples()}
    rows: list[dict[str, Any]] = []
    for number, (mask, best) in enumerate((name, chosen[name]["pixels"]) for name in config.data.masks):
        picked = _pick(counts, mask, best, config.eval.gallery)
        wanted = {(row.case, row.slice): row for row in picked.itertuples()}
        for case, at, heat in full_maps.heat_of(run, explained, stage=best["stage"], method=best["method"]):
            if (case, at) in wanted:
                place = places[case, at]
                slice_truth = of_slice(place.split, place.record)
                flips = orientation.flips(place.axes)
                ct = np.round(hounsfield.apply_window(slice_truth.hu, config.data.windows[0]) * 255).astype(np.uint8)
                rows.append(
                    {
                        "ct": orientation.display(ct, flips),
                        "truth": orientation.display(slice_truth.masks[number], flips),
                        "heat": orientation.display(heat.astype(np.float32), flips),
                        "threshold": np.float32(best["threshold"]),
                        "dice": np.float32(wanted[case, at].dice),
                        "kind": wanted[case, at].kind,
                        "mask": mask,
                        "case": case,
                        "slice": at,
                        "method": best["method"],
                        "stage": best["stage"],
                    }
                )
    with replacing(run.results / "gallery.npz") as temporary, temporary.open("wb") as file:
        arrays = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _pick(counts: pd.DataFrame, mask: str, best: dict, number: int) -> pd.DataFrame:
    """Test slices with the highest Dice, around the median, and the lowest; no slice twice."""
    of_best = counts[
        (counts["split"] == "test")
        & (counts["mask"] == mask)
        & (counts["stage"] == best["stage"])
        & (counts["method"] == best["method"])
        & (counts["threshold"] == np.float32(best["threshold"]))
    ]
    dice = overlap.dice(*(of_best[c].to_numpy() for c in ("tp", "fp", "fn")))
    ranked = of_best.assign(dice=dice).sort_values(["dice", "case", "slice"], ascending=[False, True, True])
    ranked = ranked.reset_index(drop=True)
    number = min(number, len(ranked) // 3) or 1
    middle = max((len(ranked) - number) // 2, 0)
    kinds = {"typical": range(middle, middle + number), "best": range(number)}
    kinds["worst"] = range(max(len(ranked) - number, 0), len(ranked))
    return pd.concat([ranked.iloc[list(at)].assign(kind=kind) for kind, at in kinds.items()]).drop_duplicates(
        ["case", "slice"]
    )
