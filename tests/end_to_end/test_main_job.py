"""The whole program as a user runs it: one small run, its results, its restart, its products and its refusals."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from configs import smoke
from hemojax import results
from hemojax.data import intensity, volume
from hemojax.errors import UserError
from hemojax.run import Run, stored
from hemojax.tasks import explain
from hemojax.tasks.bench import bench
from hemojax.tasks.export import export
from hemojax.tasks.report import report as report_again
from hemojax.training import loop

pytestmark = pytest.mark.end_to_end
ROOT = Path(__file__).parents[2]


def command(*options: str, config: str = "configs/smoke.py") -> list[str]:
    return [sys.executable, "main.py", f"--config={config}", *options]


@pytest.fixture(scope="module", autouse=True)
def _compile_once(tmp_path_factory):
    """The runs of this file share their compiled programs."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        environment.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
        yield


def run(*options: str, config: str = "configs/smoke.py") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*options, config=config), cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, _compile_once) -> Path:
    """A finished run of configs/smoke.py."""
    folder = tmp_path_factory.mktemp("run")
    done = run(f"--workdir={folder}")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def frames(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return tuple(pd.read_parquet(folder / "results" / f"{name}.parquet") for name in ("slices", "counts"))


def test_results_are_complete(workdir):
    slices, counts = frames(workdir)
    assert set(slices["split"]) == {"validation", "test"}
    cams = counts[~counts["baseline"]]
    assert set(cams["stage"]) == {"stage2", "stage3"}
    assert cams["method"].nunique() == 2 * 11  # raw and refined
    assert cams["threshold"].nunique() == 51
    assert set(counts.loc[counts["baseline"], "method"]) == {"hu_threshold", "whole_brain", "mean_training_mask"}
    keys = ["case", "slice", "stage", "method", "seed", "mask", "threshold"]
    assert not counts.duplicated(keys).any()
    areas = (counts["tp"] + counts["fn"]).groupby([counts["case"], counts["slice"], counts["mask"]]).nunique()
    assert (areas == 1).all()
    assert counts.loc[counts["threshold"] == np.float32(0.5), "box_tp"].notna().all()
    folder = workdir / "results"
    maps, curves, lesions = (results.read_table(folder / f"{name}.parquet") for name in ("maps", "curves", "lesions"))
    assert len(maps) * 51 == len(counts)
    assert (maps["otsu_tp"] + maps["otsu_fn"]).gt(0).eq(maps["auroc"].notna()).all()
    assert curves["inside"].map(len).eq(1024).all()
    pixels = maps[maps["auroc"].notna()].groupby(["patient", "stage", "method", "seed", "mask"]).size() * 64**2
    summed = curves.set_index(["patient", "stage", "method", "seed", "mask"])
    assert (summed["inside"].map(sum) + summed["outside"].map(sum)).sort_index().eq(pixels.sort_index()).all()
    assert set(lesions["case"]) == set(counts["case"])
    for name in ("summary.md", "summary.csv", "chosen.json", "run.json", "figures/dice_haemorrhage.png"):
        assert (folder / name).stat().st_size > 100
    assert json.loads((folder / "run.json").read_text())["versions"]["jax"]


def test_events_and_lines_of_every_step(workdir):
    lines = [json.loads(line) for line in (workdir / "train.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["kind"] == "step"]
    assert steps == list(range(1, len(steps) + 1))
    assert [line["epoch"] for line in lines if line["kind"] == "epoch"] == [1, 2]
    assert list((workdir / "events").glob("events.*"))


def test_report_is_made_again_without_a_network(workdir, tmp_path):
    shutil.copytree(workdir / "results", tmp_path / "results")
    before = (tmp_path / "results" / "summary.csv").read_bytes()
    for name in ("summary.md", "summary.csv"):
        (tmp_path / "results" / name).unlink()
    done = run(f"--workdir={tmp_path}", "--config.task=report")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "results" / "summary.csv").read_bytes() == before


def test_a_killed_run_goes_on_to_the_same_table(workdir, tmp_path):
    begun = subprocess.Popen(command(f"--workdir={tmp_path}"), cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(tmp_path / "checkpoints" / "last" / "1", begun)
    kill(begun)
    assert not (tmp_path / "results" / "counts.parquet").exists()
    begun = subprocess.Popen(command(f"--workdir={tmp_path}"), cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(tmp_path / "maps" / "shared" / "000000.npz", begun)
    kill(begun)
    assert not (tmp_path / "results" / "counts.parquet").exists()
    quick = ("--config.eval.sanity.slices=0", "--config.eval.faithfulness.slices=0", "--config.eval.refine=()")
    done = run(f"--workdir={tmp_path}", *quick)
    assert done.returncode == 0, done.stderr[-2000:]
    (slices, counts), (resumed_slices, resumed_counts) = frames(workdir), frames(tmp_path)
    pd.testing.assert_frame_equal(slices, resumed_slices)
    raw = counts[~counts["method"].str.endswith("+pamr")].reset_index(drop=True)
    pd.testing.assert_frame_equal(raw, resumed_counts)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + 900
    while not path.exists():
        assert process.poll() is None, f"the run ended before it wrote {path}"
        assert time.monotonic() < limit
        time.sleep(0.05)


def kill(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_explain_writes_masks_on_the_grid_of_the_scan(workdir, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    names = sorted((workdir / "phantom" / "images").iterdir())[:2]
    for path in names:
        shutil.copy(path, scans)
    (scans / "broken.nii.gz").write_bytes(names[0].read_bytes()[:3000])
    done = run(f"--workdir={workdir}", "--config.task=explain", f"--config.explain.scans={scans}")
    # The scan that cannot be read is named; the others are done.
    assert done.returncode == 1
    assert "1 of 3 scans could not be explained" in done.stderr
    assert "broken.nii.gz: cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
    output = workdir / "explain"
    probabilities = pd.read_csv(output / "probabilities.csv")
    boxes = pd.read_csv(output / "boxes.csv")
    coco = json.loads((output / "boxes.coco.json").read_text())
    assert len(coco["annotations"]) == len(boxes)
    for path in names:
        name = path.name.removesuffix(".nii.gz")
        scan = nib.load(path)
        heat, mask = (nib.load(output / f"{name}_{kind}.nii.gz") for kind in ("heat", "mask"))
        for image in (heat, mask):
            assert image.shape == scan.shape
            np.testing.assert_allclose(image.affine, scan.affine)
        own = probabilities[probabilities["scan"] == name]
        assert own["slice"].tolist() == list(range(scan.shape[2]))
        values = np.asanyarray(heat.dataobj)
        assert not values[..., (own["any"] <= 0.5).to_numpy()].any()
        positive = (own["any"] > 0.5).to_numpy()
        assert values[..., positive].any(axis=(0, 1)).sum() == positive.sum()
        assert (output / f"{name}_montage.png").stat().st_size > 1000


def test_explain_draws_a_fused_map(workdir, tmp_path):
    trained = dataclasses.replace(loop.trained(stored(workdir)), workdir=tmp_path)
    cells = [["stage2", "hirescam"], ["stage3", "layercam"]]
    results.write_json(trained.results / "fusion.json", {"mean": cells})
    path = sorted((workdir / "phantom" / "images").iterdir())[0]
    scan = explain.Scan("scan", intensity.to_hu(path, volume.read(path).array))

    def heat(method, stage):
        options = stored(workdir).config.explain
        options.update(method=method, stage=stage, threshold=0.5)
        found = explain.build(trained, explain.choose(options, trained), batch=2, chunk=8)(scan)
        # What a slice is called is another matter: heat everywhere.
        assert found.heat.shape == scan.hu.shape
        return found.heat

    with pytest.MonkeyPatch.context() as patch:
        infer = explain.predict.build(trained.network)
        patch.setattr(explain.predict, "build", lambda network: lambda *inputs: np.abs(infer(*inputs)) + 1)
        one, other = (heat(method, stage) for stage, method in cells)
        both = heat("mean", "fused")
    mean = (one + other) / 2
    low, high = (edge(mean, axis=(0, 1)) for edge in (np.min, np.max))
    np.testing.assert_allclose(both, (mean - low) / np.maximum(high - low, 1e-7), atol=1e-4)
    assert both.any(axis=(0, 1)).all()


def test_the_exported_weights_are_those_of_the_best_checkpoint(workdir, tmp_path):
    done = run(f"--workdir={workdir}", "--config.task=export", "--config.model.name=resnet50")
    assert done.returncode == 0, done.stderr[-2000:]
    config = smoke.get_config()  # the run's own, whatever the command line says
    config.model.weights = str(workdir / "weights.safetensors")
    exported, best = loop.initial_variables(config), loop.trained(Run(config, workdir)).variables
    assert jax.tree.all(jax.tree.map(np.array_equal, exported, best))
    with pytest.raises(UserError, match="no such file"):
        export(config, tmp_path)


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--config.model.nam=resnet50", "no option --config.model.nam: did you mean --config.model.name?"),
        ("--config.trian.epochs=3", "no option --config.trian.epochs: did you mean --config.train.epochs?"),
        ("--config.seed=x", "config.seed=x"),
        ("--config.task=benhc", "did you mean 'bench'?"),
        ("--workdri=x", "workdir"),
        ("rubbish", "'rubbish' is no option"),
        ("--config.data.layout=generic", "--config.data.root=FOLDER"),
        ("--config.data.root=gs://bucket/scans", "--config.data.root=gs://bucket/scans: an address is no folder"),
    ],
)
def test_a_mistake_on_the_command_line_ends_in_one_line(tmp_path, option, line):
    done = run(f"--workdir={tmp_path / 'work'}", option)
    assert done.returncode == 1
    assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert len([text for text in done.stderr.splitlines() if text.startswith("hemojax: ")]) == 1
    assert {path.name for path in tmp_path.rglob("*.*")} <= {".lock"}


@pytest.mark.parametrize(
    ("section", "option", "value", "line"),
    [
        ("model", "name", "resnet19", "resnet18"),
        ("cam", "methods", ("gradcm",), "did you mean 'gradcam'"),
        ("cam", "stages", ("stage7",), "stage7"),
        ("cam", "target", "IPHH", "IPHH"),
        ("data", "labels", ("IPHH",), "did you mean 'IPH'"),
        ("model", "dtype", "bfloat", "did you mean 'bfloat16'?"),
        ("train", "optimizer", "adm", "did you mean 'adam'?"),
        ("train", "log_steps", 0, "--config.train.log_steps=0"),
        ("data", "layout", "genric", "did you mean 'generic'?"),
    ],
)
def test_a_mistaken_name_is_refused_before_any_work(tmp_path, section, option, value, line):
    config = smoke.get_config()
    config[section][option] = value
    with pytest.raises(UserError, match=re.escape(line)):
        bench(config, tmp_path)
    assert not (tmp_path / "records").exists()
    assert not (tmp_path / "phantom").exists()


def test_another_run_in_the_same_folder_is_refused(workdir):
    done = run(f"--workdir={workdir}", "--config.train.epochs=3")
    assert done.returncode == 1
    assert "holds a run with train.epochs=2, not 3" in done.stderr


def test_an_address_as_workdir_is_refused_before_any_work(tmp_path):
    # From a folder of its own: taken for a path, the address would be a folder `gs:` there.
    words = [sys.executable, str(ROOT / "main.py"), f"--config={ROOT}/configs/smoke.py", "--workdir=gs://bucket/run"]
    paths = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=paths, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("hemojax: --workdir=gs://bucket/run: an address is no folder")
    assert not list(tmp_path.iterdir())


def test_a_missing_config_is_named():
    done = run(config="configs/bensh.py")
    assert done.returncode == 1
    assert "configs/bensh.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_over_several_trainings(workdir, tmp_path):
    few = ("--config.cam.methods=('gradcam','layercam')", "--config.cam.stages=('stage3',)", "--config.eval.refine=()")
    few += ("--config.eval.sanity.slices=0",)
    options = (f"--workdir={tmp_path}", "--config.seeds=(0,3)", "--config.eval.faithfulness.slices=0", *few)
    done = run(*options)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (frames(tmp_path / f"seed-{seed}")[0].drop(columns="run") for seed in (0, 3))
    pd.testing.assert_frame_equal(first, frames(workdir)[0].drop(columns="run"))  # of the run with this seed alone
    assert not np.allclose(first["logit"], second["logit"])
    assert first.drop(columns=["logit", "probability"]).equals(second.drop(columns=["logit", "probability"]))
    agreement = results.read_table(tmp_path / "results" / "consistency.parquet")
    assert "layercam" in set(agreement["method"])
    assert set(agreement["method"]) <= {"gradcam", "layercam"}
    assert (agreement["first"] == 0).all()
    assert (agreement["second"] == 3).all()
    assert (agreement["slices"] > 0).all()
    assert agreement["iou"].between(0, 1).all()
    report = tmp_path / "results" / "trainings.md"
    before = report.read_text()
    assert "methods over trainings" in before
    report.unlink()
    config = smoke.get_config()
    config.seeds = (0, 3)
    report_again(config, tmp_path)
    assert report.read_text() == before
    assert (tmp_path / "seed-3" / "phantom").is_symlink()
    with pytest.raises(UserError, match=r"data\.size=64, not 32"):
        bench(config_of(config, size=32), tmp_path)


def config_of(config, size):
    other = config.copy_and_resolve_references()
    other.data.size = size
    other.seeds = (4, 5)
    return other


def test_seeds_that_are_not_several_are_refused(tmp_path):
    config = smoke.get_config()
    config.seeds = (1, 1)
    with pytest.raises(UserError, match=r"--config.seeds=\(1, 1\): name two or more"):
        bench(config, tmp_path)
