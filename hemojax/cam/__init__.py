"""Class activation maps: `METHODS` are pure functions of one image, `build` makes the program that runs them."""

from hemojax.cam.engine import Explanation, build
from hemojax.cam.method import Inputs, Method
from hemojax.cam.random import identity
from hemojax.cam.registry import METHODS
from hemojax.cam.targets import Target

__all__ = ["METHODS", "Explanation", "Inputs", "Method", "Target", "build", "identity"]
