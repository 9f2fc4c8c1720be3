"""Train on the records, which are prepared first, and write the logits of validation and test."""

from pathlib import Path

import pandas as pd
from ml_collections import ConfigDict

from hemojax import devices, results
from hemojax.checks import checked
from hemojax.data import loader
from hemojax.data.prepare import prepare
from hemojax.errors import UserError
from hemojax.run import Run, TrainedRun, describe, guard
from hemojax.training import loop, predict


def train(config: ConfigDict, workdir: Path) -> TrainedRun:
    """Prepare the records, train, and write the logits of every validation and test slice.

    What was finished before stands.

    Raises:
        UserError: see `checks.checked`, `run.guard`, `prepare` and `loop.train`.
    """
    run = Run(checked(config), workdir)
    guard(run)
    if devices.is_first_host():
        prepare(run.config, run.records)
    devices.wait_for_all("records")
    if not run.records.exists():
        raise UserError(f"--workdir={workdir}: this host does not see the first host's folder; name a shared one")
    describe(run)
    data = run.config.data
    reader = loader.Reader(run.records, data.device_share)
    loop.train(run, reader)
    trained = loop.trained(run)
    infer = predict.build(trained.network)
    parts = [
        predict.logits(infer, trained.variables, reader, split=split, data=data, batch_size=run.config.eval.batch)
        for split in ("validation", "test")
    ]
    if devices.is_first_host():
        results.write_table(run.results / "slices.parquet", pd.concat(parts).assign(run=run.config.name))
    devices.wait_for_all("logits")  # which every host reads
    return trained
