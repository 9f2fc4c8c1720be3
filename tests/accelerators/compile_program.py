"""Compiles one program for one target and prints what the compiler says of it, as a line of JSON.

    python -m tests.accelerators.compile_program h100 resnet18 float32 step --size=96

A failed check of XLA's ends the process: hence one process a program.
"""

import argparse
import json
import time

from tests.accelerators import target  # first: it chooses this process's platform

from tests.accelerators import optimised, programs  # isort: skip


def main() -> None:
    """Compile what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=target.TARGETS)
    for name in ("network", "dtype", "program"):
        parser.add_argument(name, help="see programs.lower")
    parser.add_argument("--size", type=int, default=96, help="side of the images")
    parser.add_argument("--batch", type=int, default=4, help="images of each device")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--text", help="file for the optimised program")
    asked = parser.parse_args()
    begun = time.monotonic()
    mesh = target.mesh(asked.target, asked.devices)
    lowered = programs.lower(asked.program, asked.network, asked.dtype, asked.size, asked.batch, mesh)
    compiled = lowered.compile(compiler_options=target.OPTIONS[asked.target])
    seconds = time.monotonic() - begun
    text, memory, cost = compiled.as_text(), compiled.memory_analysis(), compiled.cost_analysis() or {}
    if asked.text:
        with open(asked.text, "w") as file:
            file.write(text)
    found = {
        "seconds": round(seconds, 1),
        "temporary_mib": round(memory.temp_size_in_bytes / 2**20, 1),
        "argument_mib": round(memory.argument_size_in_bytes / 2**20, 1),
        "output_mib": round(memory.output_size_in_bytes / 2**20, 1),
        "gflop": round(cost["flops"] / 1e9, 3) if "flops" in cost else None,  # XLA for a GPU says nothing of these two
        "gigabytes": round(cost["bytes accessed"] / 1e9, 3) if "bytes accessed" in cost else None,
        "collectives": optimised.collectives(text),
        "kernels": optimised.kernels(text)._asdict(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
