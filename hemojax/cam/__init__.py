"""Class activation maps: `METHODS` are pure functions of one image, `explain` runs them, `build` makes its program."""

from hemojax.cam.api import explain, smooth_over_augmentations
from hemojax.cam.engine import Explanation, build
from hemojax.cam.fullgrad import fullgrad
from hemojax.cam.method import Inputs, Method
from hemojax.cam.postprocess import full_heat, fuse_geometric_mean, fuse_max, fuse_mean, fuse_product, fuse_votes
from hemojax.cam.random import identity
from hemojax.cam.registry import METHODS
from hemojax.cam.targets import Contrast, Target, contrast

__all__ = [
    "METHODS",
    "Contrast",
    "Explanation",
    "Inputs",
    "Method",
    "Target",
    "build",
    "contrast",
    "explain",
    "full_heat",
    "fullgrad",
    "fuse_geometric_mean",
    "fuse_max",
    "fuse_mean",
    "fuse_product",
    "fuse_votes",
    "identity",
    "smooth_over_augmentations",
]
