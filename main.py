"""Runs hemojax: `python main.py --config=configs/bench.py [--workdir=FOLDER] [--config.OPTION=VALUE ...]`.

Kept short on purpose: what it dispatches to lives in libraries that can be tested.
"""

import difflib
import importlib
import runpy
import sys
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from hemojax import files, huge_pages
from hemojax.errors import UserError

CONFIG = config_flags.DEFINE_config_file("config", None, "The run's config, e.g. configs/bench.py.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for everything that is written; default: runs/<config.name>.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other hosts of this run (jax.distributed.initialize).")
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of the first host, where JAX cannot find it.")
HOSTS = flags.DEFINE_integer("hosts", None, "How many hosts there are, with --coordinator.")
HOST = flags.DEFINE_integer("host", None, "This host's number from 0, with --coordinator.")
flags.mark_flag_as_required("config")


TASKS = {
    "bench": ("hemojax.benchmark.localization", "bench"),
    "train": ("hemojax.benchmark.localization", "train"),
    "report": ("hemojax.benchmark.localization", "report"),
    "speed": ("hemojax.benchmark.speed", "speed"),
    "export": ("hemojax.benchmark.localization", "export"),
    "explain": ("hemojax.benchmark.explain", "explain"),
}
"""What `config.task` may name: a module, imported when it is needed, and its function of config and workdir."""


def main(argv: list[str]) -> None:
    """Run the config's task."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    try:
        if len(argv) > 1:
            raise UserError(f"'{argv[1]}' is no option; options start with --")
        config = CONFIG.value
        if config.task not in TASKS:
            nearest = difflib.get_close_matches(config.task, TASKS, n=1, cutoff=0)[0]
            raise UserError(f"--config.task={config.task}: did you mean {nearest}? The tasks are {', '.join(TASKS)}")
        for option, value in (options(config) | {"workdir": WORKDIR.value}).items():
            files.refuse_address(option, value)
        importlib.import_module("hemojax.compilation").keep_programs()
        if DISTRIBUTED.value:
            devices = importlib.import_module("hemojax.devices")
            devices.join_hosts(COORDINATOR.value, HOSTS.value, HOST.value)
        module, function = TASKS[config.task]
        task = getattr(importlib.import_module(module), function)
        task(config, Path(WORKDIR.value or Path("runs") / config.name))
    except UserError as error:
        sys.exit(f"hemojax: {error}")


def parse(argv: list[str]) -> list[str]:
    """Parse the flags; an unknown config option is refused by name, with the nearest one named."""
    try:
        rest = flags.FLAGS(argv)
        options(CONFIG.value)
        return rest
    except (AttributeError, KeyError):
        # ml_collections raises these for an option that the config does not have, without its whole name.
        given = [word.lstrip("-").split("=")[0] for word in argv[1:] if word.startswith("-")]
        path = next(word.split("=", 1)[1] for word in argv if word.lstrip("-").startswith("config="))
        known = options(runpy.run_path(path.split(":")[0])["get_config"]())
        wrong = next(name for name in given if name.startswith("config.") and name not in known)
        nearest = difflib.get_close_matches(wrong, known, n=1, cutoff=0)[0]
        sys.exit(f"hemojax: no option --{wrong}: did you mean --{nearest}?")
    except (flags.Error, OSError, TypeError, ValueError) as error:
        sys.exit(f"hemojax: {' '.join(str(error).split())}")


def options(config: ConfigDict, prefix: str = "config") -> dict[str, Any]:
    """Every option of a config as it is written on the command line, and its value."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}.{key}"
        found |= options(value, name) if isinstance(value, ConfigDict) else {name: value}
    return found


if __name__ == "__main__":
    huge_pages.ask()
    app.run(main, flags_parser=parse)
