"""Train on the records, which are prepared first, and write the logits of validation and test."""

import itertools
from pathlib import Path

import pandas as pd
from ml_collections import ConfigDict

from hemojax import devices, results
from hemojax.checks import checked
from hemojax.data import loader, mask_targets, records, splits
from hemojax.data.case import SPLITS
from hemojax.data.prepare import prepare
from hemojax.errors import UserError
from hemojax.network import Variables
from hemojax.progress import say
from hemojax.run import Run, TrainedRun, describe, guard
from hemojax.training import loop, predict


def train(config: ConfigDict, workdir: Path) -> TrainedRun:
    """Prepare the records, train (first on the phantom, if asked), and write every validation and test slice's logits.

    What was finished before stands.

    Raises:
        UserError: several seeds are named; see `checks.checked`, `run.guard`, `prepare` and `loop.train`.
    """
    if config.seeds:
        raise UserError(f"--config.seeds={config.seeds}: only bench makes several trainings; name one --config.seed")
    if config.data.fold < 0:
        raise UserError("--config.data.fold=-1: only bench makes several trainings; name one fold")
    run = Run(checked(config), workdir)
    guard(run)
    pretrained = run.config.train.pretrain != ""
    initial = None if pretrained else loop.initial_variables(run.config)  # weights that do not fit are refused first
    reader = _prepared(run)
    data = run.config.data
    index = pd.concat([records.read_index(reader.folder, split) for split in SPLITS])
    splits.check_labels(index, data.labels)
    mask_targets.check(index, data.masks.to_dict(), scored=config.task == "bench")
    describe(run, records.about(run.records))
    loop.train(run, reader, _pretrained(run) if initial is None else initial)
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


def _prepared(run: Run) -> loader.Reader:
    """A reader of the run's grey slices, which the first host makes unless they are there."""
    if devices.is_first_host():
        prepare(run.config, run.records)
        _set_former_aside(run)
    devices.wait_for_all("records")
    if not run.records.exists():
        raise UserError(f"--workdir={run.workdir}: this host does not see the first host's folder; name a shared one")
    return loader.Reader(run.records, run.config.data.device_share)


def _set_former_aside(run: Run) -> None:
    """Move what was made of other records out of the way: a network must not be taken for one of these."""
    path = run.results / "run.json"
    before = results.read_json(path).get("records") if path.exists() else None
    if before is None or before == records.about(run.records)["records"]:
        return
    former = next(folder for n in itertools.count(1) if not (folder := run.workdir / f"former-{n}").exists())
    former.mkdir()
    for made in (run.checkpoints, run.maps, *(run.workdir / name for name in loop.LOGS), run.results):
        if made.exists():
            made.rename(former / made.name)
    say(f"the network is trained anew, on the data as they are now; what was made before is in {former}")


def _pretrained(run: Run) -> Variables:
    """Of the run's network after its training on the phantom, slices of which are taken as large as they are."""
    config = run.config.copy_and_resolve_references()
    config.data.update(layout="phantom", root="", size=config.data.phantom.size)
    config.data.update(patients="", patient_pattern="", folds=0, fold=0, hash_names=False)  # which are the data set's
    config.train.epochs = config.train.pretrain_epochs
    before = Run(config, run.pretraining)
    loop.train(before, _prepared(before), loop.initial_variables(config))
    return loop.trained(before).variables
