"""The main job: train if there is no checkpoint, explain, score, choose on validation, report on test."""

from pathlib import Path

import jax
import pandas as pd
from ml_collections import ConfigDict
from rich.console import Console

from hemojax import devices
from hemojax.benchmark import explanations, faithfulness, gallery, removal, run, sanity, scoring, volumes
from hemojax.data import loader
from hemojax.data.prepare import prepare
from hemojax.errors import UserError
from hemojax.metrics import cuts, statistics
from hemojax.models import pretrained
from hemojax.reporting import summary, tables
from hemojax.training import loop, predict


def bench(config: ConfigDict, workdir: Path) -> None:
    """From the data set to the report; whatever was finished before stands, and what is missing is made.

    Raises:
        UserError: see `run.checked`, `run.guard`, `prepare` and `loop.train`.
    """
    config = run.checked(config)
    train(config, workdir)
    epoch, variables = loop.best_variables(config, workdir)
    folder, results = workdir / "records", workdir / "results"
    logits = tables.read_table(results / "slices.parquet")
    slices = explanations.explained_slices(folder, config.data, logits)
    network, weights = loop.create_network(config), f"epoch {epoch}"
    timings = explanations.compute(config, network, variables, weights, folder, slices, logits, workdir)
    if not devices.is_first_host():
        return
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    tables.write_table(results / "timings.parquet", timings.assign(run=config.name, device=device))
    scores = scoring.score(config, folder, slices, logits, workdir)
    for name, table in scores._asdict().items():
        tables.write_table(results / f"{name}.parquet", table)
    rows = cuts.cut(scores.counts, scores.maps, scores.lesions)
    protocol = cuts.PROTOCOLS[config.eval.protocol]
    known = statistics.summarise(rows[rows["split"] == "validation"])
    chosen = statistics.choose(known, protocol)
    tables.write_json(results / "chosen.json", chosen)
    gallery.write(config, folder, slices, workdir, scores.counts, chosen)
    cells = statistics.best_stages(known, protocol)
    tables.write_table(results / "volumes.parquet", volumes.measure(config, folder, slices, workdir, cells))
    removal.write(config, network, variables, folder, workdir)
    maps_of = cells[~cells["baseline"].astype(bool)]
    changed = sanity.compare(config, network, variables, folder, slices, logits, maps_of)
    tables.write_table(results / "sanity.parquet", changed.assign(run=config.name))
    faithful = faithfulness.measure(config, network, variables, folder, slices, maps_of, logits, workdir)
    tables.write_table(results / "faithfulness.parquet", faithful)
    report(config, workdir)


def train(config: ConfigDict, workdir: Path) -> None:
    """Prepare the records, train, and write the logits of every validation and test slice."""
    config = run.checked(config)
    run.guard(config, workdir)
    folder = workdir / "records"
    if devices.is_first_host():
        prepare(config, workdir)
    devices.wait_for_all("records")
    if not folder.exists():
        raise UserError(f"--workdir={workdir}: this host does not see the first host's folder; name a shared one")
    run.describe(config, workdir)
    reader = loader.Reader(folder, config.data.device_share)
    loop.train(config, reader, workdir)
    infer = predict.build(loop.create_network(config))
    _, variables = loop.best_variables(config, workdir)
    parts = [
        predict.logits(infer, variables, reader, split, config.data, config.eval.batch)
        for split in ("validation", "test")
    ]
    if devices.is_first_host():
        tables.write_table(workdir / "results" / "slices.parquet", pd.concat(parts).assign(run=config.name))


def export(config: ConfigDict, workdir: Path) -> None:
    """Write the best checkpoint's weights to `<workdir>/weights.safetensors`, under PyTorch's names.

    Raises:
        UserError: the folder holds no trained run.
    """
    trained = run.stored_config(workdir)
    _, variables = loop.best_variables(trained, workdir)
    if devices.is_first_host():
        pretrained.save(workdir / "weights.safetensors", loop.create_network(trained), variables)


def report(config: ConfigDict, workdir: Path) -> None:
    """Tables and pictures, made again from the result files alone."""
    summary.report(workdir / "results", Console())
