"""Explanations in one call, for those who use hemojax as a library."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hemojax import devices
from hemojax.cam import targets
from hemojax.cam.engine import Explanation, build
from hemojax.cam.fullgrad import fullgrad
from hemojax.cam.inputs import without_taps
from hemojax.cam.postprocess import full_heat
from hemojax.cam.targets import AnyTarget, Contrast, Target
from hemojax.compilation import Program
from hemojax.errors import UserError
from hemojax.groups import map_groups
from hemojax.network import Network, Variables

BRIGHTNESS = (0.9, 1.0, 1.1)


def explain(
    network: Network,
    variables: Variables,
    images: Float[Array | np.ndarray, "b height width channels"],
    *,
    methods: Sequence[str] = ("hirescam",),
    stages: Sequence[str] | None = None,
    target: str | int | Sequence[int] | Int[Array | np.ndarray, " n"] | AnyTarget = "predicted",
    identities: Int[Array | np.ndarray, " n"] | None = None,
    seeds: int = 10,
    chunk: int = 64,
    eigen_smooth: bool = False,
    registered: bool = False,
    aug_smooth: bool = False,
) -> Explanation:
    """Explain images with any of `METHODS`, at any stages, and with FullGrad; the same request compiles once.

    It may be called inside of `jax.jit`, `jax.vmap` and `jax.shard_map`, with images, variables and targets that are
    traced; their values cannot be checked then. See `compilation.Program` for the options that it then goes without.

    Args:
        network: a `hemojax.models.StagedNetwork`, or any flax module that fulfils `hemojax.network.Network`.
        variables: its "params", and "batch_stats" if it has them.
        images: its input (NHWC).
        methods: names out of `METHODS`, and "fullgrad".
        stages: names of the network's stages and inner taps; default: the last stage alone.
        target: which logit to explain. "predicted": of labels that do not exclude each other, among them a single one,
            the highest logit, or minus it where none is above 0; "highest": of classes that do (a softmax's), the
            highest; a number: that logit of every image; numbers: one for each image; a `Target` with the signs too;
            or a `Contrast` of logits, as `contrast` makes it for Finer-CAM.
        identities: a number for each image, from which random methods draw (see `identity`); default: 0, 1, 2, ...
        seeds: how many maps RandomCAM draws for each image.
        chunk: how many ablated or masked inputs are held at once at most.
        eigen_smooth: smooth by the first principal component (see `build`).
        registered: draw the masks of ScoreCAM and its kin where the network's cells look (see `build`).
        aug_smooth: smooth over mirrored and brighter images (see `smooth_over_augmentations`).

    Returns:
        Logits and heat maps on the device, in [0, 1] and at each stage's own resolution; see `full_heat` to see them on
        the image. FullGrad's, at ("image", "fullgrad"), have the image's resolution, and with `aug_smooth` all have.

    Raises:
        UserError: a method, stage or target is unknown, or there is not one target for each image.
    """
    images = jnp.asarray(images)
    variables = without_taps(variables)
    shown = tuple(stages) if stages is not None else network.stages[-1:]
    options = {"seeds": seeds, "chunk": chunk, "eigen_smooth": eigen_smooth, "registered": registered}
    run = _program(network, tuple(methods), shown, **options)
    chosen = _target(network, variables, images, target)
    drawn = jnp.arange(len(images)) if identities is None else jnp.asarray(identities)
    if len(drawn) != len(images):
        raise UserError(f"{len(drawn)} identities for {len(images)} images")
    if aug_smooth:
        return smooth_over_augmentations(lambda images: run(variables, images, chosen, drawn), images)
    return run(variables, images, chosen, drawn)


def smooth_over_augmentations(
    explain: Callable[[Float[Array, "b height width channels"]], Explanation],
    images: Float[Array, "b height width channels"],
) -> Explanation:
    """PGC's `aug_smooth`: the mean of the maps of an image and its mirror image, each times 0.9, 1 and 1.1.

    Args:
        explain: maps of images.
        images: the images.

    Returns:
        The logits of the images themselves, and maps `(b, [seeds,] height, width)`, not scaled again.
    """
    _, height, width, _ = images.shape

    def full(maps: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        flat = jax.vmap(lambda one: full_heat(one, (height, width)))(maps.reshape(-1, *maps.shape[-2:]))
        return flat.reshape(*maps.shape[:-2], height, width)

    plain = [explain(factor * images) for factor in BRIGHTNESS]
    mirrored = [explain(factor * images[:, :, ::-1]) for factor in BRIGHTNESS]
    maps = {
        cell: jnp.stack(
            [full(one.maps[cell]) for one in plain] + [full(one.maps[cell])[..., ::-1] for one in mirrored]
        ).mean(0)
        for cell in plain[0].maps
    }
    return Explanation(plain[BRIGHTNESS.index(1.0)].logits, maps)


@lru_cache(maxsize=32)
def _program(network: Network, methods: tuple[str, ...], stages: tuple[str, ...], **options: Any) -> Any:
    of_stages = [name for name in methods if name != "fullgrad"]
    staged = build(network, of_stages, stages, **options)
    if "fullgrad" not in methods:
        return staged

    def whole(variables: Variables, images: Float[Array, "b h w c"], target: AnyTarget) -> Float[Array, "b h w"]:
        return map_groups(partial(fullgrad, network, variables), devices.platform(), images, target)

    run_whole = Program(whole)

    def both(variables: Variables, images: Array, target: AnyTarget, identities: Array) -> Explanation:
        found = staged(variables, images, target, identities)
        maps = {("image", "fullgrad"): run_whole(variables, images, target)}
        return Explanation(found.logits, found.maps | maps)

    return both


@lru_cache(maxsize=32)
def _forward(network: Network) -> Any:
    def forward(variables: Variables, images: Float[Array, "b h w c"]) -> Float[Array, "b outputs"]:
        return map_groups(partial(network.apply, variables, train=False), devices.platform(), images)

    return Program(forward)


def _target(network: Network, variables: Variables, images: Float[Array, "b h w c"], target: Any) -> AnyTarget:
    batch = len(images)
    outputs = _forward(network).eval_shape(variables, images).shape[-1]  # traced once, unlike jax.eval_shape
    if isinstance(target, Contrast):
        if target.weights.shape != (batch, outputs):
            raise UserError(f"a contrast of shape {target.weights.shape} for {batch} images and {outputs} logits")
        return target
    if isinstance(target, Target):
        labels, signs = (jnp.asarray(part) for part in target)
        known = _value(target.label)
    elif isinstance(target, str):
        if target not in ("predicted", "highest"):
            raise UserError(f"no target {target!r}: give 'predicted', 'highest', a number, or a number for each image")
        logits = _forward(network)(variables, images)
        labels, signs = targets.predicted(logits) if target == "predicted" else targets.highest(logits)
        known = None
    else:
        labels, known = jnp.asarray(target), _value(target)
        labels = jnp.full(batch, labels) if labels.ndim == 0 else labels
        signs = jnp.ones(labels.shape)
    if labels.shape != (batch,) or signs.shape != (batch,):
        raise UserError(f"{labels.size} targets for {batch} images: give one for each, or a single number for all")
    if known is not None and not np.all((known >= 0) & (known < outputs)):
        raise UserError(f"targets {np.unique(known).tolist()}: the network has logits 0 to {outputs - 1}")
    return Target(labels, signs)


def _value(labels: Any) -> np.ndarray | None:
    """The labels themselves, or None where they are traced."""
    return None if isinstance(labels, jax.core.Tracer) else np.asarray(labels)
