"""`hemojax` and `python -m hemojax`: the command line, or a word on what is missing for it."""

import sys


def run() -> None:
    """Run what the command line asks for, and exit."""
    try:
        from hemojax import cli
    except ModuleNotFoundError as error:
        sys.exit(f"hemojax: the command needs {error.name}, of the packages of the study: pip install 'hemojax[study]'")
    cli.run()


if __name__ == "__main__":
    run()
