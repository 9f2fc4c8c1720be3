"""Runs hemojax: `python main.py --config=configs/bench.py [--workdir=FOLDER] [--config.OPTION=VALUE ...]`."""

from hemojax import cli

if __name__ == "__main__":
    cli.run()
