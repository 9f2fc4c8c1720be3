"""The command line: `hemojax --config=bench`, which is `python main.py --config=configs/bench.py` of a checkout."""

import contextlib
import difflib
import importlib
import pkgutil
import re
import runpy
import sys
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from hemojax import files, huge_pages, option_rules, tasks
from hemojax.errors import UserError, check_name

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The run's config: a file, or the name of a built-in one (bench, smoke, ...), e.g. bench:resnet50."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for everything that is written; default: runs/<config.name>.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other hosts of this run (jax.distributed.initialize).")
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of the first host, where JAX cannot find it.")
HOSTS = flags.DEFINE_integer("hosts", None, "How many hosts there are, with --coordinator.")
HOST = flags.DEFINE_integer("host", None, "This host's number from 0, with --coordinator.")
flags.mark_flag_as_required("config")

PATHS = ("data.root", "model.weights", "explain.scans")
"""The config's options that are paths."""

TASKS = tuple(module.name for module in pkgutil.iter_modules(tasks.__path__))
"""What `config.task` may name: a module of `hemojax.tasks`, imported when it is needed, with a function of its name."""


def run() -> None:
    """Run what the command line asks for, and exit."""
    huge_pages.ask()
    app.run(main, flags_parser=parse)


def main(argv: list[str]) -> None:
    """Run the config's task."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    config = CONFIG.value
    for section, option in (name.split(".") for name in PATHS):
        config[section][option] = files.home(config[section][option])
    workdir = Path(files.home(WORKDIR.value)) if WORKDIR.value else Path("runs") / config.name
    try:
        if len(argv) > 1:
            raise UserError(f"'{argv[1]}' is no option; options start with --")
        option_rules.check(config)
        check_name(config.task, TASKS, "task")
        for option, value in (options(config) | {"workdir": WORKDIR.value}).items():
            files.refuse_address(option, value)
        importlib.import_module("hemojax.compilation").keep_programs()
        if DISTRIBUTED.value:
            devices = importlib.import_module("hemojax.devices")
            devices.join_hosts(COORDINATOR.value, HOSTS.value, HOST.value)
        task = getattr(importlib.import_module(f"hemojax.tasks.{config.task}"), config.task)
        with contextlib.ExitStack() as stack:
            # Of several hosts with one folder the first alone writes where others could meet it.
            if not DISTRIBUTED.value or importlib.import_module("hemojax.devices").is_first_host():
                stack.enter_context(files.only_writer(workdir))
            task(config, workdir)
    except UserError as error:
        sys.exit(f"hemojax: {' '.join(str(error).splitlines())}")
    except Exception as error:
        reason = files.refusal(error, workdir)
        if reason is None:
            raise
        sys.exit(f"hemojax: {reason}")


def parse(argv: list[str]) -> list[str]:
    """Parse the flags; an unknown config option is refused by name, with the nearest one named."""
    try:
        argv = [_located(word, before) for before, word in zip(["", *argv], argv, strict=False)]
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
    except (flags.Error, OSError, TypeError, UserError, ValueError) as error:
        sys.exit(f"hemojax: {_with_form(' '.join(str(error).split()))}")


def _with_form(refusal: str) -> str:
    """A refusal by absl of an option's value, in which the form that the option has stands for Python's words."""
    found = re.match(r"flag --config\.([\w.]+)=(.*?): ", refusal)
    form = found and option_rules.form(found[1])
    return f"--config.{found[1]}={found[2]}: give {form}" if found and form else refusal


def built_in() -> dict[str, Path]:
    """The built-in configs by name: `configs/` of the checkout, which is `hemojax/configs/` once installed."""
    package = Path(__file__).parent
    folder = next(path for path in (package / "configs", package.parent / "configs") if path.is_dir())
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def _located(word: str, before: str) -> str:
    """A word of the command line; where it names a built-in config, with that config's path.

    Raises:
        UserError: it is the name of no built-in config, and no path either.
    """
    flag, given = ("", word) if before in ("-config", "--config") else word.partition("config=")[::2]
    name, colon, argument = given.partition(":")
    if given != word and flag not in ("-", "--"):
        return word
    if Path(name).suffix or Path(name).is_file():
        return f"{word.removesuffix(given)}{files.home(given)}"
    check_name(name, built_in(), "built-in config")
    return f"{word.removesuffix(given)}{built_in()[name]}{colon}{argument}"


def options(config: ConfigDict, prefix: str = "config") -> dict[str, Any]:
    """Every option of a config as it is written on the command line, and its value."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}.{key}"
        found |= options(value, name) if isinstance(value, ConfigDict) else {name: value}
    return found
