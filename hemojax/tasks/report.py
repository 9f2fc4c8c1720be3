"""Tables, figures and texts, made again from the result tables alone."""

from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console

from hemojax.reporting import report as reporting
from hemojax.run import Run


def report(config: ConfigDict, workdir: Path) -> None:
    """Write `results/summary.md` and what belongs to it, and print the main tables.

    Raises:
        UserError: see `reporting.report.write`.
    """
    reporting.write(Run(config, workdir).results, Console())
