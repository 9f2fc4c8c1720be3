"""Maps that follow the edges of their image, which a stage's grid is too coarse for.

A refinement is a pure function of heat maps of one image, at the image's size, and of its grey values, the guide. It
knows no intensity of blood: where a map is 0 all around, it stays 0. What refines well is chosen on validation, as
methods and stages are; a refined method has the refinement in its name: `gradcam+pamr`.
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hemojax.cam.postprocess import minmax
from hemojax.errors import check_name

Maps = Float[Array, "n h w"]
Guide = Float[Array, "h w"]

SEPARATOR = "+"
"""Between a method and its refinement."""


def pamr(
    maps: Maps, guide: Guide, *, steps: int, dilations: tuple[int, ...] = (1, 2, 4, 8), sharpness: float = 0.3
) -> Maps:
    """Pixel-adaptive mask refinement (PAMR; Araslanov and Roth 2020, arXiv:2005.08104).

    At each step a pixel takes the mean of its neighbours, weighted by the softmax of -|difference of grey| /
    (sharpness * local standard deviation). The deviation is that of the neighbours and the pixel, once for each
    dilation, as in the authors' code, where sharpness is 0.1. Beyond the border stands the border's pixel.

    Args:
        maps: of one image.
        guide: its grey values.
        steps: how often.
        dilations: distances of the eight neighbours, in pixels.
        sharpness: a small one keeps to edges, a large one blurs.
    """
    margin, (h, w) = max(dilations), guide.shape
    neighbours = [(d * i, d * j) for d in dilations for i, j in product((-1, 0, 1), repeat=2) if (i, j) != (0, 0)]

    def shifted(values: Float[Array, "*maps height width"], i: int, j: int) -> Float[Array, "*maps h w"]:
        return values[..., margin + i : margin + i + h, margin + j : margin + j + w]

    def padded(values: Float[Array, "*maps h w"]) -> Float[Array, "*maps height width"]:
        return jnp.pad(values, [(0, 0)] * (values.ndim - 2) + [(margin, margin)] * 2, mode="edge")

    outside, number = padded(guide), len(neighbours) + len(dilations)
    differences = [shifted(outside, *offset) - guide for offset in neighbours]
    # The pixel itself differs by 0 from itself.
    mean, squares = sum(differences) / number, sum(jnp.square(one) for one in differences)
    deviation = jnp.sqrt(jnp.maximum(squares - number * jnp.square(mean), 0) / (number - 1))
    # At most some neighbours' differences are large against the deviation, so that no sum is 0.
    sharp = -1 / (1e-8 + sharpness * deviation)
    weights = jnp.stack([jnp.exp(jnp.abs(one) * sharp) for one in differences])
    # Stored, not computed anew for each step.
    weights = jax.lax.optimization_barrier(weights / weights.sum(0))

    def step(_: Int[Array, ""], maps: Maps) -> Maps:
        outside = padded(maps)
        parts = (weight * shifted(outside, *offset) for weight, offset in zip(weights, neighbours, strict=True))
        return sum(parts)

    return jax.lax.fori_loop(0, steps, step, maps)


def walk(maps: Maps, guide: Guide, *, sharpness: float = 100.0, restart: float = 0.01, iterations: int = 100) -> Maps:
    """A random walk that starts anew where the map says: Grady's walker with the map as its prior (2005, CVPR).

    The solution x of (L + restart) x = restart * map, where L is the Laplacian of the pixels, each joined to its four
    neighbours by exp(-sharpness * (difference of grey / standard deviation of the image's)**2).

    Args:
        maps: of one image.
        guide: its grey values.
        sharpness: a large one keeps to edges.
        restart: a small one lets the walk go far, 1 / sqrt(restart) pixels.
        iterations: of conjugate gradients.
    """
    scaled = guide / (guide.std() + 1e-8)
    down, right = (jnp.exp(-sharpness * jnp.square(jnp.diff(scaled, axis=axis))) for axis in (0, 1))

    def system(x: Maps) -> Maps:
        i, j = down * jnp.diff(x, axis=1), right * jnp.diff(x, axis=2)
        leaving = jnp.pad(i, ((0, 0), (0, 1), (0, 0))) + jnp.pad(j, ((0, 0), (0, 0), (0, 1)))
        coming = jnp.pad(i, ((0, 0), (1, 0), (0, 0))) + jnp.pad(j, ((0, 0), (0, 0), (1, 0)))
        return restart * x + coming - leaving

    return jax.scipy.sparse.linalg.cg(system, restart * maps, x0=maps, maxiter=iterations)[0]


REFINEMENTS: dict[str, Callable[[Maps, Guide], Maps]] = {
    "pamr5": partial(pamr, steps=5),
    "pamr": partial(pamr, steps=10),
    "pamr20": partial(pamr, steps=20),
    "walk": walk,
}
"""By name: what `eval.refine` lists."""


def refine(name: str, maps: Maps, guide: Guide) -> Maps:
    """Heat maps of one image at its full size, refined and scaled to [0, 1] again (see `postprocess.minmax`).

    Args:
        name: a key of REFINEMENTS.
        maps: see `postprocess.full_heat`.
        guide: grey values of the image; only their differences matter, and not their unit.

    Raises:
        UserError: there is no refinement of this name.
    """
    check_name(name, REFINEMENTS, "refinement")
    return jax.vmap(minmax)(REFINEMENTS[name](maps, guide))


def named(method: str, refinement: str) -> str:
    """The name under which a method's refined maps stand in results."""
    return f"{method}{SEPARATOR}{refinement}" if refinement else method


def parts(name: str) -> tuple[str, str]:
    """The method and the refinement that `named` has joined; the latter is empty for raw maps, also of `gradcam++`."""
    method, separator, refinement = name.rpartition(SEPARATOR)
    return (method, refinement) if separator and refinement in REFINEMENTS else (name, "")
