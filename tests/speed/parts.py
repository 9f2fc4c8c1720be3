"""Contenders for test_timer.py, which runs them in processes of their own."""

import os
import time
from pathlib import Path

from hemojax.speed.timer import Prepared


def logged(name, log):
    def part(number):
        with Path(log).open("a") as file:
            file.write(f"{name}{number} ")
        time.sleep(0.01 * number)

    return [lambda: part(0), lambda: part(2)]


def broken():
    raise ValueError("cannot be prepared")


def environment(log, names=("GLIBC_TUNABLES",)):
    def part():
        with Path(log).open("a") as file:
            file.write("".join(os.environ.get(name, "none") + " " for name in names))

    return [part]


def nothing():
    return [lambda: None]


def described():
    return Prepared(nothing(), "CPU, 8 at once")
