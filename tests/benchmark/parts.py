"""Contenders for test_contest.py, which runs them in processes of their own."""

import os
import time
from pathlib import Path


def logged(name, log):
    def part(number):
        with Path(log).open("a") as file:
            file.write(f"{name}{number} ")
        time.sleep(0.01 * number)

    return [lambda: part(0), lambda: part(2)]


def broken():
    raise ValueError("cannot be prepared")


def environment(log):
    def part():
        with Path(log).open("a") as file:
            file.write(os.environ.get("GLIBC_TUNABLES", "none") + " ")

    return [part]
