"""Kills a tiny run at random moments until it is complete, and compares its tables with those of a run left alone.

python benchmarks/kill_loop.py FOLDER [--minutes=10] [--kills=200] [--seed=0]

The run is configs/smoke.py with few methods. Each start is killed (SIGKILL, the process group) after a random time of
up to 0.7 of what the run takes alone. When a run completes, its tables are compared, and the next begins in a new
folder. A table is the same if all rows are; `timings` is left out. The first difference ends the loop: status 1.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
FEW = (
    "--config.cam.methods=('gradcam','ablationcam','randomcam')",
    "--config.eval.sanity.slices=0",
    "--config.eval.faithfulness.slices=0",
    "--config.eval.refine=()",
)
TIMES = {"timings"}
"""Tables that no two runs have in common."""
REACHED = {"records": "training", "maps": "maps", "results/counts.parquet": "scores and report"}
"""What a run is at once it has made a file or folder; before the first it prepares."""


def main() -> None:
    """Run the loop; prints a line a complete run, and a summary."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    alone = options.folder / "alone"
    begun = time.monotonic()
    start(alone).wait()
    seconds = time.monotonic() - begun
    wanted, kills, runs, where = tables(alone), 0, 0, Counter()
    print(f"alone: {seconds:.0f} s, {len(wanted)} tables", flush=True)
    while kills < options.kills and time.monotonic() - begun < 60 * options.minutes:
        workdir, killed = options.folder / f"run-{runs}", 0
        while True:
            process = start(workdir)
            try:
                status = process.wait(timeout=rng.uniform(0, 0.7 * seconds))
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                killed += 1
                where[stage(workdir)] += 1
        if status:
            sys.exit(f"{workdir}: ended with status {status} after {killed} kills")
        different = [name for name, table in tables(workdir).items() if not table.equals(wanted[name])]
        if different or tables(workdir).keys() != wanted.keys():
            sys.exit(f"{workdir}: after {killed} kills other tables: {', '.join(different) or 'some are missing'}")
        kills, runs = kills + killed, runs + 1
        print(f"{workdir.name}: {killed} kills, the same tables; {kills} kills in {runs} runs so far", flush=True)
        shutil.rmtree(workdir)
    print(f"{kills} kills in {runs} runs, all tables the same; killed in {dict(where)}")


def start(workdir: Path) -> subprocess.Popen[bytes]:
    """The run in a process group of its own, what it prints in a file beside its folder."""
    command = [sys.executable, "main.py", "--config=configs/smoke.py", f"--workdir={workdir}", *FEW]
    workdir.parent.mkdir(parents=True, exist_ok=True)
    with workdir.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def stage(workdir: Path) -> str:
    """What the run was at."""
    return next((at for made, at in reversed(REACHED.items()) if (workdir / made).exists()), "preparation")


def tables(workdir: Path) -> dict[str, pd.DataFrame]:
    """Every result table by name, but those that hold times."""
    paths = sorted((workdir / "results").glob("*.parquet"))
    return {path.stem: pd.read_parquet(path) for path in paths if path.stem not in TIMES}


if __name__ == "__main__":
    main()
