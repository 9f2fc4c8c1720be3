"""Runs hemojax: `python main.py --config=configs/bench.py [--workdir=FOLDER] [--config.OPTION=VALUE ...]`.

Kept short on purpose: what it dispatches to lives in libraries that can be tested.
"""

import difflib
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "The run's config, e.g. configs/bench.py.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for everything that is written; default: runs/<config.name>.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other hosts of this run (jax.distributed.initialize).")
flags.mark_flag_as_required("config")


def tasks() -> dict:
    """What `config.task` may name. Imported late: a misspelt option is refused at once."""
    from hemojax.benchmark import explain, localization

    return {
        "bench": localization.bench,
        "train": localization.train,
        "report": localization.report,
        "explain": explain.explain,
    }


def main(argv: list[str]) -> None:
    """Run the config's task."""
    from hemojax.errors import UserError

    try:
        if len(argv) > 1:
            raise UserError(f"'{argv[1]}' is no option; options start with --")
        if DISTRIBUTED.value:
            import jax

            jax.distributed.initialize()
        config = CONFIG.value
        found = tasks()
        if config.task not in found:
            nearest = difflib.get_close_matches(config.task, found, n=1, cutoff=0)[0]
            raise UserError(f"--config.task={config.task}: did you mean {nearest}? The tasks are {', '.join(found)}")
        found[config.task](config, Path(WORKDIR.value or Path("runs") / config.name))
    except UserError as error:
        logging.flush()
        sys.exit(f"hemojax: {error}")


def parse(argv: list[str]) -> list[str]:
    """Parse the flags; an unknown config option is refused by name, with the nearest one named."""
    try:
        return flags.FLAGS(argv)
    except AttributeError:
        # ml_collections raises this for an option that the config does not have, without its whole name.
        known = options(flags.FLAGS["config"].value)
        given = [word.lstrip("-").split("=")[0] for word in argv[1:] if word.startswith("-")]
        wrong = next(name for name in given if name.startswith("config.") and name not in known)
        nearest = difflib.get_close_matches(wrong, known, n=1, cutoff=0)[0]
        sys.exit(f"hemojax: no option --{wrong}: did you mean --{nearest}?")
    except (flags.Error, OSError, TypeError, ValueError) as error:
        sys.exit(f"hemojax: {' '.join(str(error).split())}")


def options(config: ConfigDict, prefix: str = "config") -> list[str]:
    """Every option of a config as it is written on the command line."""
    return [
        name
        for key, value in config.items()
        for name in (options(value, f"{prefix}.{key}") if isinstance(value, ConfigDict) else [f"{prefix}.{key}"])
    ]


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
