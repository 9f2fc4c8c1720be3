"""Tables, figures and texts, made again from the result tables alone."""

from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console

from hemojax.reporting import report as reporting
from hemojax.reporting import trainings_report
from hemojax.run import Run


def report(config: ConfigDict, workdir: Path) -> None:
    """Write `results/summary.md` and what belongs to it, and print the main tables.

    With `config.seeds` or all folds: `results/trainings.md`, over the trainings that are there.

    Raises:
        UserError: see `reporting.report.write` and `reporting.trainings_report.write`.
    """
    run = Run(config, workdir)
    folders = {number: one.results for number, one in run.trainings.items()}
    if folders:
        trainings_report.write(folders, run.results, Console(), differs_in=run.differs_in)
    else:
        reporting.write(run.results, Console())
