"""What training begins with."""

from types import SimpleNamespace

import pytest
from data.folders import generic

from hemojax.config import defaults
from hemojax.data import records
from hemojax.errors import UserError
from hemojax.tasks.train import train
from hemojax.training import loop


class Reached(Exception):
    """The run's own training."""


def test_a_run_begins_with_its_network_after_the_phantom(tmp_path, monkeypatch):
    config = defaults()
    config.data.update(root=str(generic(tmp_path / "set")), size=48)
    config.data.phantom.update(cases=12, size=32, slices=8)
    config.train.update(epochs=3, pretrain="phantom", pretrain_epochs=2)
    folder, begun = tmp_path / "work", []

    def recorded(run, reader, initial):
        begun.append((run, reader, initial))
        if run.workdir == folder:
            raise Reached

    monkeypatch.setattr(loop, "train", recorded)
    monkeypatch.setattr(loop, "initial_variables", lambda config: {"params": "fresh"})
    monkeypatch.setattr(loop, "trained", lambda run: SimpleNamespace(variables={"params": str(run.workdir)}))
    with pytest.raises(Reached):
        train(config, folder)
    (before, phantom, first), (run, reader, second) = begun
    assert (before.workdir, first) == (folder / "pretraining", {"params": "fresh"})
    assert (run.workdir, second) == (folder, {"params": str(folder / "pretraining")})
    assert [it.config.train.epochs for it in (before, run)] == [2, 3]
    assert [it.config.data.size for it in (before, run)] == [32, 48]
    assert set(records.read_index(phantom.folder, "train")["case"]) <= {f"phantom-{n:04d}" for n in range(12)}
    assert set(records.read_index(reader.folder, "train")["case"]) <= {f"p{n}" for n in range(9)}


def test_several_seeds_are_for_bench(tmp_path):
    config = defaults()
    config.seeds = (0, 1)
    with pytest.raises(UserError, match=r"--config\.seeds"):
        train(config, tmp_path)


def test_all_folds_are_for_bench(tmp_path):
    config = defaults()
    config.data.update(folds=3, fold=-1)
    with pytest.raises(UserError, match=r"--config\.data\.fold=-1"):
        train(config, tmp_path)
