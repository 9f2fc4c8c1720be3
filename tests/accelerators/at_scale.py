"""What the compiler's figures of one program on many devices say of its speed, and what bounds it.

    python -m tests.accelerators.compile_program v5e efficientnet_v2_s bfloat16 step \\
        --devices=16 --size=192 --batch=64 > step.json
    python -m tests.accelerators.at_scale step.json v5e --batch=64 --devices=16 --share=0.5

Bytes are those that the kernels of the entry computation read and write, each counted where it is used, as if nothing
stayed in a cache between two kernels: a bound from below on the speed, where the share of the peak is right.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

SLICES = 750_000  # of RSNA's 2019 challenge


class Peak(NamedTuple):
    """Of one device: operations a second in bfloat16, and bytes a second to its memory and to the others."""

    flops: float
    memory: float
    link: float


PEAKS = {"h100": Peak(989e12, 3.35e12, 900e9 / 2), "v5e": Peak(197e12, 819e9, 200e9 / 2)}  # links: one direction


def seconds(found: dict[str, Any], peak: Peak, share: float, gflop: float | None = None) -> dict[str, float]:
    """How long one execution takes each of what may bound it.

    Args:
        found: what `compile_program` printed.
        peak: of the device.
        share: of each peak, what is reached.
        gflop: of a device, where the compiler did not say.
    """
    moved = found["kernels"]["read"] + found["kernels"]["written"]
    exchanged = 2 * sum(kind["mib"] for kind in found["collectives"].values()) * 2**20  # a ring gives and takes twice
    operations = 1e9 * (found["gflop"] or gflop or 0)
    return {
        "operations": operations / (share * peak.flops),
        "memory": moved / (share * peak.memory),
        "links": exchanged / (share * peak.link),
    }


def main() -> None:
    """Print the figures of a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the line that compile_program printed")
    parser.add_argument("target", choices=PEAKS)
    parser.add_argument("--batch", type=int, required=True, help="images of each device")
    parser.add_argument("--devices", type=int, required=True)
    parser.add_argument("--share", type=float, default=0.5, help="of each peak that is reached")
    parser.add_argument("--gflop", type=float, help="of a device, where the compiler did not say")
    asked = parser.parse_args()
    found = json.loads(asked.file.read_text().splitlines()[-1])
    each = seconds(found, PEAKS[asked.target], asked.share, asked.gflop)
    bound = max(each, key=lambda name: each[name])
    rate = asked.batch * asked.devices / each[bound]
    for name, value in each.items():
        print(f"{name}: {1e3 * value:.1f} ms")
    print(f"{bound} bounds it: {rate:,.0f} images a second, {SLICES / rate / 60:.1f} minutes for {SLICES:,} slices")


if __name__ == "__main__":
    main()
