"""Batches of one size, so that a program compiles once: the last is filled up with copies of its first row."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int


def filled(number: int, size: int) -> Int[np.ndarray, " size"]:
    """Places of `number` rows, 1 at least, and then that of the first again up to `size`."""
    places = np.zeros(size, np.int64)
    places[:number] = np.arange(number)
    return places


def in_batches(number: int, size: int) -> Iterator[tuple[Int[np.ndarray, " size"], int]]:
    """Places of the rows of each batch in turn, and how many of them count."""
    for start in range(0, number, size):
        real = min(size, number - start)
        yield start + filled(real, size), real
