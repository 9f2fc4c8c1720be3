"""The main job: train if there is no checkpoint, explain, score, choose on validation, report on test.

With `config.seeds` that for each seed, with `config.data.fold=-1` for each fold, and a report over all of them.
"""

from pathlib import Path

import pandas as pd
from ml_collections import ConfigDict

from hemojax import devices, results
from hemojax.benchmark import (
    bleed_removal,
    consistency,
    explained,
    gallery,
    map_faithfulness,
    randomisation,
    scan_volumes,
    scoring,
    stored_maps,
)
from hemojax.checks import checked
from hemojax.data import records
from hemojax.data.prepare import prepare
from hemojax.data.pseudonyms import PRIVATE, Pseudonyms
from hemojax.errors import UserError
from hemojax.run import Run, TrainedRun, describe, guard
from hemojax.statistics import summary, thresholds, trainings
from hemojax.tasks.report import report
from hemojax.tasks.train import train


def bench(config: ConfigDict, workdir: Path) -> None:
    """From the data set to the report; whatever was finished before stands, and what is missing is made.

    Raises:
        UserError: see `tasks.train`; `config.seeds` are not at least two different ones.
    """
    if config.seeds or config.data.fold < 0:
        _trainings(config, workdir)
    else:
        run, slices, timings = _explained(config, workdir)
        if devices.is_first_host():
            _score(run, slices, timings)
    if devices.is_first_host():
        report(config, workdir)


def _trainings(config: ConfigDict, workdir: Path) -> None:
    """A training for each seed, on the same records, or for each fold, and how well they agree."""
    if config.seeds and len(set(config.seeds)) < max(2, len(config.seeds)):
        raise UserError(f"--config.seeds={config.seeds}: name two or more seeds, each once, or use --config.seed")
    run = Run(checked(config), workdir)
    runs = run.trainings
    for one in (run, *runs.values()):
        guard(one)
    if devices.is_first_host() and config.seeds:
        prepare(run.config, run.records)
        for one in runs.values():
            one.workdir.mkdir(exist_ok=True)
            # A phantom that hemojax made is beside the records.
            for name in {run.records.name, "phantom", PRIVATE} & {path.name for path in workdir.iterdir()}:
                _link(one.workdir, name)
    elif devices.is_first_host() and config.data.hash_names:
        Pseudonyms(workdir / PRIVATE)  # a case has one digest in all folds
        for one in runs.values():
            _link(one.workdir, PRIVATE)
    devices.wait_for_all("folders")
    describe(run, records.about(run.records))
    # All that the hosts do together comes first: none waits for another that scores.
    found = [_explained(one.config, one.workdir) for one in runs.values()]
    if not devices.is_first_host():
        return
    summaries = {}
    for trained, slices, timings in found:
        number = trained.config.seed if config.seeds else trained.config.data.fold
        summaries[number] = _score(trained, slices, timings)
        report(trained.config, trained.workdir)
    best = trainings.best_stages(summaries, thresholds.PROTOCOLS[config.eval.protocol])
    agreement = consistency.measure(runs, best[~best["baseline"].astype(bool)])
    results.write_table(run.results / "consistency.parquet", agreement)


def _link(folder: Path, name: str) -> None:
    """Give a training's folder what lies in the folder of all trainings."""
    folder.mkdir(exist_ok=True)
    if not (folder / name).exists():
        (folder / name).symlink_to(Path("..", name))


def _explained(config: ConfigDict, workdir: Path) -> tuple[TrainedRun, explained.Explained, pd.DataFrame]:
    """What all hosts make together: the trained run, its slices, and their maps, of which the times are given."""
    run = train(config, workdir)
    slices = explained.of_run(run)
    return run, slices, stored_maps.compute(run, slices)


def _score(run: TrainedRun, slices: explained.Explained, timings: pd.DataFrame) -> pd.DataFrame:
    """What the first host makes of them: every table of the run. Gives the summary of validation."""
    timings = timings.assign(run=run.config.name, device=devices.described())
    results.write_table(run.results / "timings.parquet", timings)
    scores = scoring.score(run, slices)
    for name, table in scores._asdict().items():
        results.write_table(run.results / f"{name}.parquet", table)
    protocol = thresholds.PROTOCOLS[run.config.eval.protocol]
    rows = thresholds.cut(scores.counts, scores.maps, scores.lesions)
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
    return known
