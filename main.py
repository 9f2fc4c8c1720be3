"""Runs hemojax: `python main.py --config=configs/bench.py [--workdir=FOLDER] [--config.OPTION=VALUE ...]`."""

from hemojax.__main__ import run

if __name__ == "__main__":
    run()
