"""The main job: train if there is no checkpoint, explain, score, choose on validation, report on test."""

from pathlib import Path

from ml_collections import ConfigDict

from hemojax import devices, results
from hemojax.benchmark import (
    bleed_removal,
    explained,
    gallery,
    map_faithfulness,
    randomisation,
    scan_volumes,
    scoring,
    stored_maps,
)
from hemojax.statistics import summary, thresholds
from hemojax.tasks.report import report
from hemojax.tasks.train import train


def bench(config: ConfigDict, workdir: Path) -> None:
    """From the data set to the report; whatever was finished before stands, and what is missing is made.

    Raises:
        UserError: see `tasks.train`.
    """
    run = train(config, workdir)
    slices = explained.of_run(run)
    timings = stored_maps.compute(run, slices)
    if not devices.is_first_host():
        return
    timings = timings.assign(run=run.config.name, device=devices.described())
    results.write_table(run.results / "timings.parquet", timings)
    scores = scoring.score(run, slices)
    for name, table in scores._asdict().items():
        results.write_table(run.results / f"{name}.parquet", table)
    rows = thresholds.cut(scores.counts, scores.maps, scores.lesions)
    protocol = thresholds.PROTOCOLS[run.config.eval.protocol]
    known = summary.summarise(rows[rows["split"] == "validation"])
    chosen = summary.choose(known, protocol)
    results.write_json(run.results / "chosen.json", chosen)
    gallery.write(run, slices, counts=scores.counts, chosen=chosen)
    cells = summary.best_stages(known, protocol)
    results.write_table(run.results / "volumes.parquet", scan_volumes.measure(run, slices, cells=cells))
    bleed_removal.write(run)
    maps_of = cells[~cells["baseline"].astype(bool)]
    changed = randomisation.compare(run, slices, cells=maps_of)
    results.write_table(run.results / "sanity.parquet", changed.assign(run=run.config.name))
    faithful = map_faithfulness.measure(run, slices, cells=maps_of)
    results.write_table(run.results / "faithfulness.parquet", faithful)
    report(config, workdir)
