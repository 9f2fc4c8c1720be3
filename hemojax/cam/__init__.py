"""Class activation maps: `METHODS` are pure functions of one image, `explain` runs them, `build` makes its program."""

from hemojax.cam.api import explain
from hemojax.cam.engine import Explanation, build
from hemojax.cam.method import Inputs, Method
from hemojax.cam.postprocess import full_heat, fuse_max, fuse_mean, fuse_product
from hemojax.cam.random import identity
from hemojax.cam.registry import METHODS
from hemojax.cam.targets import Target

__all__ = [
    "METHODS",
    "Explanation",
    "Inputs",
    "Method",
    "Target",
    "build",
    "explain",
    "full_heat",
    "fuse_max",
    "fuse_mean",
    "fuse_product",
    "identity",
]
