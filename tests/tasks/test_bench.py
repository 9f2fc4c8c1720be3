"""Several trainings in one job: which runs are made, and under which number their figures stand."""

from types import SimpleNamespace

import pandas as pd
import pytest

from configs import smoke
from hemojax import results
from hemojax.benchmark import consistency
from hemojax.statistics import trainings
from hemojax.tasks import bench


@pytest.mark.parametrize("differs_in", ["seed", "fold"])
def test_a_training_for_each_seed_or_fold(tmp_path, monkeypatch, differs_in):
    config, made, tables = smoke.get_config(), [], []
    config.data.phantom.update(cases=12, size=32, slices=4)
    if differs_in == "seed":
        config.seeds = (0, 1, 2)
    else:
        config.data.update(folds=3, fold=-1)

    def explained(config, workdir):
        made.append((workdir, config.seed, config.data.fold))
        return SimpleNamespace(config=config, workdir=workdir), None, None

    def best_stages(summaries, protocol):
        assert summaries == {0: "summary", 1: "summary", 2: "summary"}
        return pd.DataFrame({"baseline": [False]})

    monkeypatch.setattr(bench, "prepare", lambda config, folder: folder.mkdir(parents=True))
    monkeypatch.setattr(bench, "_explained", explained)
    monkeypatch.setattr(bench, "_score", lambda *of_run: "summary")
    monkeypatch.setattr(bench, "report", lambda config, workdir: tables.append(workdir))
    monkeypatch.setattr(trainings, "best_stages", best_stages)
    monkeypatch.setattr(consistency, "measure", lambda runs, cells: list(runs))
    monkeypatch.setattr(results, "write_table", lambda path, table: tables.append((path.name, table)))
    bench.bench(config, tmp_path)
    folders = [tmp_path / f"{differs_in}-{number}" for number in range(3)]
    numbers = [(n, 0) if differs_in == "seed" else (config.seed, n) for n in range(3)]
    assert made == [(folder, *of_run) for folder, of_run in zip(folders, numbers, strict=True)]
    assert tables == [*folders, ("consistency.parquet", [0, 1, 2]), tmp_path]
    assert (tmp_path / "records").exists() == (folders[0] / "records").is_symlink() == (differs_in == "seed")
