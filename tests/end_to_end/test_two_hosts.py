"""The whole program on two processes as two hosts with one folder: killed in training, started again, finished."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.end_to_end
ROOT = Path(__file__).parents[2]
LIMIT = 900


def start(folder: Path, logs: Path) -> list[subprocess.Popen[bytes]]:
    """Both hosts of the smoke job with few methods, a slice a batch; what host i says goes to `<logs>/<i>.txt`."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "main.py", "--config=configs/smoke.py", f"--workdir={folder}"]
    words += ["--config.cam.methods=('gradcam', 'hirescam', 'randomcam')", "--config.cam.stages=('stage3',)"]
    words += ["--config.cam.batch=1", "--config.eval.sanity.slices=0", "--config.eval.faithfulness.slices=0"]
    words += ["--distributed", f"--coordinator=localhost:{port}", "--hosts=2"]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(logs / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    }
    hosts = []
    for host in range(2):
        with (logs / f"{host}.txt").open("wb") as log:
            hosts.append(
                subprocess.Popen(
                    [*words, f"--host={host}"], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
                )
            )
    return hosts


def said(logs: Path, host: int) -> str:
    return (logs / f"{host}.txt").read_text()


@pytest.mark.long
def test_two_hosts_go_on_from_one_folder_and_fill_it_once(tmp_path):
    folder = tmp_path / "run"
    hosts = start(folder, tmp_path)
    try:
        limit = time.monotonic() + LIMIT
        while not (folder / "checkpoints" / "last" / "1").exists():
            assert [host.poll() for host in hosts] == [None, None], said(tmp_path, 0)[-2000:]
            assert time.monotonic() < limit
            time.sleep(0.05)
    finally:
        for host in hosts:
            os.kill(host.pid, signal.SIGKILL)
            host.wait()
    assert not (folder / "results" / "slices.parquet").exists()

    hosts = start(folder, tmp_path)
    try:
        assert [host.wait(LIMIT) for host in hosts] == [0, 0], said(tmp_path, 0)[-2000:] + said(tmp_path, 1)[-2000:]
    finally:
        for host in hosts:
            host.kill()
            host.wait()
    assert "epoch   2" in said(tmp_path, 0)
    assert "epoch   1" not in said(tmp_path, 0)  # it went on, and did not begin anew
    assert "epoch" not in said(tmp_path, 1)

    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "epoch"] == [1, 2]
    steps = [line["step"] for line in lines if line["kind"] == "step"]
    assert steps == sorted(set(steps))
    assert [path.name for path in (folder / "checkpoints" / "last").iterdir()] == ["2"]
    slices = pd.read_parquet(folder / "results" / "slices.parquet")
    assert not slices.duplicated(["case", "slice", "label"]).any()
    index = pd.read_parquet(folder / "records" / "index.parquet")
    assert len(slices) == (index["split"] != "train").sum()
    home = folder / "maps" / "shared"
    explained = []
    for path in home.glob("*.npz"):
        with np.load(path) as maps:
            explained.append(len(maps["stage3/gradcam"]))
    assert sum(explained) == len(json.loads((home / "job.json").read_text())["slices"])
    shares = [json.loads((home / f"timing-{host}.json").read_text())["slices"] for host in range(2)]
    assert min(shares) > 0
    assert sum(shares) == sum(explained)
    assert (folder / "results" / "summary.md").exists()
    assert not list(folder.rglob("*.orbax-checkpoint-tmp*"))
    assert not [path for part in ("results", "maps") for path in (folder / part).rglob(".*")]  # half-written files
