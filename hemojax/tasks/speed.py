"""How fast hemojax is beside PyTorch, as anybody can measure it again: `python main.py --config=configs/speed.py`."""

import itertools
import os
from pathlib import Path

import jax
import pandas as pd
from ml_collections import ConfigDict

from hemojax import devices, results
from hemojax.checks import DTYPES
from hemojax.errors import UserError, check_name
from hemojax.models import MODELS
from hemojax.progress import Progress, say
from hemojax.reporting import speed_figure
from hemojax.reporting.figures import write_figure
from hemojax.reporting.report import markdown_table
from hemojax.speed import metrics, networks
from hemojax.speed.measurements import KINDS, OURS, Row, measured_rates
from hemojax.speed.timer import SHARED, environment


def speed(config: ConfigDict, workdir: Path) -> None:
    """Time networks, layers or forms of convolutions, maps against other libraries, metrics, or the input.

    Writes `<workdir>/results/speed-<what>.json` and `.md`, and of cams a picture, `speed-cams.png`. Where PyTorch is
    not installed, hemojax is timed alone.

    Raises:
        UserError: a name is unknown, or the batch does not divide over the devices.
    """
    options = config.speed
    check_name(options.what, KINDS, "speed.what")
    for name in options.networks:
        check_name(name, MODELS, "speed.networks")
    for name in options.workloads:
        check_name(name, networks.WORKLOADS, "speed.workloads")
    for name in options.dtypes:
        check_name(name, DTYPES, "speed.dtypes")
    with environment(SHARED):  # JAX takes its memory when it first meets the devices
        number = jax.local_device_count()
    if options.batch % number:
        raise UserError(f"--config.speed.batch={options.batch} is not a multiple of {number} devices")
    machine = f"{devices.described()}, {os.cpu_count()} cores"
    rates = {dtype: measured_rates(dtype) for dtype in options.dtypes}
    work = f"Batch {options.batch}, {options.size} px"
    subjects = list(itertools.product(options.networks, options.dtypes))
    if options.what == "metrics":
        work = f"Maps of {options.map_size} px, {len(metrics.THRESHOLDS)} thresholds"
        subjects = [("metrics", options.dtypes[0])]
    products = ", ".join(f"{rate.gflops:.0f} GFLOP/s in {dtype}" for dtype, rate in rates.items())
    heading = (
        f"{work}, {options.rounds} rounds, {machine}, matrix product {products}, "
        f"memory {max(rate.gbytes for rate in rates.values()):.0f} GB/s. "
        "ratio: a contender's time over hemojax's in the same round: median, lowest, highest.\n\n"
    )
    home = workdir / "results"
    rows: list[Row] = []
    text = ""
    with Progress(f"speed: {options.what}", len(subjects)) as progress:
        for network, dtype in subjects:
            for row in KINDS[options.what](config, network, dtype, rates[dtype]):
                rows.append(row)  # and written at once: a contest takes minutes
                text = heading + markdown_table(
                    pd.DataFrame([{k: _text(v) for k, v in r.items()} for r in rows]).fillna("")
                )
                found = {
                    "rows": rows,
                    "rates": {name: rate._asdict() for name, rate in rates.items()},
                    "machine": machine,
                }
                results.write_json(home / f"speed-{options.what}.json", found)
                results.write_text(home / f"speed-{options.what}.md", text + "\n")
                if options.what == "cams" and len({row["contender"] for row in rows}) > 1:
                    write_figure(home / "speed-cams.png", speed_figure.ratios(pd.DataFrame(rows), OURS))
            progress.advance(network)
    say(text)


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
