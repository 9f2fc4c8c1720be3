"""Which programs are compiled for which target, and how one of them is, in a process of its own with a time limit.

All of them, into a file of JSON lines that keeps what it has, and that file as a table:

    python -m tests.accelerators.matrix matrix.jsonl
    python -m tests.accelerators.matrix matrix.jsonl --table
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
NETWORKS = ("resnet18", "efficientnet_v2_s", "resnet50", "efficientnet_lite0", "tf_efficientnetv2_s")
DTYPES = ("float32", "bfloat16")
TARGETS = ("h100", "v5e")
PLACES = "early,middle,last"
GRADIENTS = (f"engine:grid@{PLACES}", "engine:cam@last")
METRICS = ("scoring", "maps", "refined")
"""Programs without a network."""
# Methods that run the network many times, or in a way of their own.
COSTLY = (
    "groupcam",
    "shapleycam",
    "smoothgradcam++",
    "opticam",
    "ablationcam",
    "scorecam",
    "reciprocam",
    "sscam",
    "iscam",
    "ablationcam_pgc",
    "cfdcam",
)
LIMIT = 900  # seconds


class Case(NamedTuple):
    """A program and what it is compiled for, see `programs.lower`.

    96 pixels: the stages' sides are 24, 12, 6 and 3, and few kernels can be tiled by powers of two.
    """

    target: str
    network: str
    dtype: str
    program: str
    devices: int = 1
    size: int = 96
    batch: int = 4

    def __str__(self) -> str:
        return "-".join(map(str, self)).replace("/", "_")


# Of each kind of program one for each target, the smallest network that has what went wrong before.
CONTINUOUS = (
    Case("h100", "resnet18", "float32", "step", 8),
    Case("v5e", "resnet18", "bfloat16", "step", 8),
    *(Case(target, "resnet18", "float32", f"engine:grid@{PLACES}") for target in TARGETS),
    *(Case(target, "efficientnet_v2_s", "bfloat16", "predict") for target in TARGETS),
    Case("h100", "efficientnet_lite0", "float32", "engine:groupcam@early,middle,last"),
    Case("v5e", "resnet18", "bfloat16", "engine:groupcam@middle"),
    Case("h100", "resnet18", "float32", "faithfulness"),
    Case("h100", "resnet50", "bfloat16", "engine:gradcam,ablationcam@middle"),
    *(Case(target, "resnet18", "float32", program) for target in TARGETS for program in METRICS),
)


def whole() -> Iterator[Case]:
    """Every program of every network in both dtypes for both targets, what matters most first."""
    yield from CONTINUOUS
    for programs in (GRADIENTS[:1], ("predict",), ("step",)):
        yield from (Case(t, n, d, p) for n, p, d, t in product(NETWORKS, programs, DTYPES, TARGETS))
    for program in ("fullgrad", "faithfulness", GRADIENTS[1], *(f"engine:{method}@{PLACES}" for method in COSTLY)):
        yield from (Case(t, n, d, program) for n, d, t in product(NETWORKS, DTYPES, TARGETS))
    yield from (Case(t, n, d, "step", 8) for n, d, t in product(NETWORKS, DTYPES, TARGETS))


def compiled(case: Case) -> dict[str, Any]:
    """What `compile_program` says of the case, or its `error`."""
    options = (f"--{name}={getattr(case, name)}" for name in ("devices", "size", "batch"))
    command = [sys.executable, "-m", "tests.accelerators.compile_program", *case[:4], *options]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    try:
        run = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not compiled in {LIMIT} s"}
    lines = run.stdout.splitlines()
    if run.returncode == 0:
        return json.loads(lines[-1])
    said = [line for line in run.stderr.splitlines() if "Check failed" in line or "Error" in line]
    return {"error": f"exit status {run.returncode}: {said[-1] if said else run.stderr[-300:]}"[:500]}


def key(case: Case | dict[str, Any]) -> tuple[Any, ...]:
    """What tells cases apart."""
    return tuple(case) if isinstance(case, Case) else tuple(case[name] for name in Case._fields)


def table(found: list[dict[str, Any]]) -> str:
    """Seconds and MiB of temporaries, as Markdown: a row a network and program, a column a target and dtype."""
    columns = list(product(TARGETS, DTYPES))
    rows: dict[tuple[str, str, int], dict[tuple[str, str], str]] = {}
    for line in found:
        cell = f"{line['seconds']:.0f} s, {line['temporary_mib']:.0f} MiB" if "seconds" in line else "**fails**"
        row = rows.setdefault((line["network"], line["program"], line["devices"]), {})
        row[line["target"], line["dtype"]] = cell
    head = "| network | program | devices | " + " | ".join(" ".join(column) for column in columns) + " |"
    body = [
        f"| {network} | `{program}` | {number} | " + " | ".join(row.get(column, "") for column in columns) + " |"
        for (network, program, number), row in sorted(rows.items(), key=lambda item: NETWORKS.index(item[0][0]))
    ]
    return "\n".join([head, "|---|---|---|" + "---|" * len(columns), *body])


def main() -> None:
    """Compile what the file does not have yet, or print it as a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="JSON lines, to which this adds")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    found = [json.loads(line) for line in asked.file.read_text().splitlines()] if asked.file.exists() else []
    if asked.table:
        print(table(found))
        return
    known = {key(line) for line in found}
    for case in dict.fromkeys(whole()):
        if key(case) not in known:
            line = case._asdict() | compiled(case)
            with asked.file.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(case, line.get("error", f"{line.get('seconds')} s"), flush=True)


if __name__ == "__main__":
    main()
