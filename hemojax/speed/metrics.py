"""What is timed of the metrics, on the maps of many slices: pixel counts at 50 thresholds, boxes, ROAD's imputation.

Maps are smooth, as those of deep stages are, and the same for every contender. All slices are counted, one after the
other, but only `CHUNK` of them differ: what is timed is counting, not making maps.
"""

import importlib.util
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32
from scipy import ndimage
from skimage import measure

from hemojax.cam import postprocess
from hemojax.compilation import Program
from hemojax.metrics import boxes, overlap, road
from hemojax.speed.timer import Parts

METHODS, STAGES = 11, 6
THRESHOLDS: Float32[np.ndarray, "50"] = np.linspace(0.1, 0.9, 50).astype(np.float32)
CHUNK = 2  # slices in memory at once
ROAD_SIZE = 224
STAGE = 16  # side of the maps before they are resized, in pixels

Maps = Float32[np.ndarray, "n s s"]
Mask = Bool[np.ndarray, "s s"]


class Way(NamedTuple):
    """How a contender works.

    Attributes:
        of_slice: what it does with the maps of one slice.
        threads: how many share the slices.
        on_device: whether it gets arrays of JAX, which are what the engine leaves it, or of numpy.
    """

    of_slice: Callable[[Any, Any], object]
    threads: int = 1
    on_device: bool = False


def parts(task: str, contender: str, slices: int, size: int) -> Parts:
    """All slices are one part.

    Args:
        task: a key of TASKS.
        contender: a key of it.
        slices: how many.
        size: of the maps, in pixels.
    """
    way = TASKS[task][contender]
    chunk = [(imputed_example if task == "imputation" else example)(number, size) for number in range(CHUNK)]
    if way.on_device:
        chunk = jax.device_put(chunk)

    def part() -> object:
        # pytorch-grad-cam's sparse matrix is converted by scipy, which warns; filters are not a thread's own.
        with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(way.threads) as pool:
            return list(pool.map(lambda number: way.of_slice(*chunk[number % CHUNK]), range(slices)))

    return [part]


def example(number: int, size: int) -> tuple[Maps, Mask]:
    """The maps of a slice and its mask, a disc."""
    rng = np.random.default_rng(number)
    raw = rng.random((METHODS * STAGES, STAGE, STAGE), np.float32)
    maps = jax.lax.map(lambda heat: postprocess.full_heat(postprocess.heat(heat), (size, size)), raw)
    i, j = np.indices((size, size))
    centre = rng.uniform(0.3, 0.7, 2) * size
    return np.array(maps), np.hypot(i - centre[0], j - centre[1]) < size / 10


def imputed_example(number: int, size: int) -> tuple[Float32[np.ndarray, "r r 3"], Bool[np.ndarray, "8 r r"]]:
    """An image of ROAD_SIZE pixels and what stays of it at ROAD's percentiles of a map, in both orders."""
    rng = np.random.default_rng(number)
    noise = rng.standard_normal((ROAD_SIZE, ROAD_SIZE, 3), np.float32)
    image = 5 * ndimage.gaussian_filter(noise, (2, 2, 0))
    raw = jnp.asarray(rng.random((STAGE, STAGE), np.float32))
    return image, np.array(road.kept(postprocess.full_heat(postprocess.heat(raw), (ROAD_SIZE, ROAD_SIZE))))


def _hemojax_pixels(maps: Float32[Array, "n s s"], mask: Bool[Array, "s s"]) -> object:
    return jax.device_get(_counts(maps, mask))


@Program
def _counts(maps: Float32[Array, "n s s"], mask: Bool[Array, "s s"]) -> tuple[overlap.Counts, overlap.Levels]:
    return jax.lax.map(lambda heat: overlap.count(heat, mask, THRESHOLDS), maps)


def _loop(maps: Maps, mask: Mask) -> object:
    """A loop over thresholds."""
    area = np.count_nonzero(mask)
    counts = np.empty((len(maps), len(THRESHOLDS), 3), np.int32)
    for n, heat in enumerate(maps):
        for t, threshold in enumerate(THRESHOLDS):
            predicted = heat > threshold
            tp = np.count_nonzero(predicted & mask)
            counts[n, t] = tp, np.count_nonzero(predicted) - tp, area - tp
    return counts


def _binned(maps: Maps, mask: Mask) -> object:
    """One histogram of the number of thresholds below each pixel, inside and outside."""
    bins = len(THRESHOLDS) + 1
    half = bins * mask.ravel()
    counts = np.empty((len(maps), len(THRESHOLDS), 3), np.int32)
    for n, heat in enumerate(maps):
        cells = np.searchsorted(THRESHOLDS, heat.ravel()) + half
        outside, inside = np.bincount(cells, minlength=2 * bins).reshape(2, bins)[:, :0:-1].cumsum(axis=1)[:, ::-1]
        counts[n] = np.stack([inside, outside, half.sum() // bins - inside], axis=1)
    return counts


def _hemojax_boxes(maps: Maps, mask: Mask) -> object:
    return [found for heat in maps for found in boxes.threshold_boxes(heat, boxes.BOX_THRESHOLDS)]


def _regionprops(maps: Maps, mask: Mask) -> object:
    return [
        [region.bbox for region in measure.regionprops(measure.label(heat > threshold, connectivity=2))]
        for heat in maps
        for threshold in boxes.BOX_THRESHOLDS
    ]


@Program
def _impute(image: Float32[Array, "r r 3"], known: Bool[Array, "8 r r"]) -> Float32[Array, "8 r r 3"]:
    return road.impute_each(image, known, at_once=1 if jax.default_backend() == "cpu" else None)


def _hemojax_imputation(image: Float32[Array, "r r 3"], known: Bool[Array, "8 r r"]) -> object:
    return jax.device_get(_impute(image, known))


def _torch_imputation(image: Float32[np.ndarray, "r r 3"], known: Bool[np.ndarray, "8 r r"]) -> object:
    """pytorch-grad-cam's, without its noise."""
    import torch
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    impute, planes = NoisyLinearImputer(noise=0), torch.from_numpy(np.moveaxis(image, -1, 0).copy())
    return [impute(planes, torch.from_numpy(part.astype(np.float32))).numpy() for part in known]


_ALL = os.cpu_count() or 1
_IMPUTERS = {"hemojax": Way(_hemojax_imputation, _ALL, on_device=True)}
if importlib.util.find_spec("pytorch_grad_cam"):
    _IMPUTERS |= {
        "pytorch-grad-cam": Way(_torch_imputation),
        "pytorch-grad-cam, all cores": Way(_torch_imputation, _ALL),
    }
TASKS = {
    "pixels": {
        "hemojax": Way(_hemojax_pixels, _ALL, on_device=True),
        "numpy, loop over thresholds": Way(_loop),
        "numpy, binned": Way(_binned),
        "numpy, loop, all cores": Way(_loop, _ALL),
        "numpy, binned, all cores": Way(_binned, _ALL),
    },
    "boxes": {
        "hemojax": Way(_hemojax_boxes, _ALL),
        "scikit-image": Way(_regionprops),
        "scikit-image, all cores": Way(_regionprops, _ALL),
    },
    "imputation": _IMPUTERS,
}
"""Counting tp, fp and fn of every map at THRESHOLDS; drawing its boxes at `boxes.BOX_THRESHOLDS`; and imputing an image
of ROAD_SIZE pixels eight times, once a slice."""
SHARE = {"pixels": 1.0, "boxes": 0.2, "imputation": 0.4}
"""Of the slices: some take longer."""
MAPS = {"pixels": METHODS * STAGES, "boxes": METHODS * STAGES, "imputation": 1}
"""Of a slice."""
