"""Explanations in one call, for those who use hemojax as a library."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hemojax import compilation
from hemojax.cam import targets
from hemojax.cam.engine import Explanation, build
from hemojax.cam.inputs import Variables, without_taps
from hemojax.cam.targets import Target
from hemojax.errors import UserError
from hemojax.models.groups import map_groups


def explain(
    network: Any,
    variables: Variables,
    images: Float[Array | np.ndarray, "b height width channels"],
    *,
    methods: Sequence[str] = ("hirescam",),
    stages: Sequence[str] | None = None,
    target: str | int | Sequence[int] | Int[Array | np.ndarray, " n"] | Target = "predicted",
    identities: Int[Array | np.ndarray, " n"] | None = None,
    seeds: int = 10,
    chunk: int = 64,
) -> Explanation:
    """Explain images with any of `METHODS`, at any stages; the same request compiles once.

    Args:
        network: a `hemojax.models.StagedNetwork`, or any flax module with its `stages`, `taps`, `resolve` and call.
        variables: its "params", and "batch_stats" if it has them.
        images: its input (NHWC).
        methods: names out of `METHODS`.
        stages: names of the network's stages and inner taps; default: the last stage alone.
        target: which logit to explain. "predicted": of labels that do not exclude each other, among them a single one,
            the highest logit, or minus it where none is above 0; "highest": of classes that do (a softmax's), the
            highest; a number: that logit of every image; numbers: one for each image; or a `Target` with the signs too.
        identities: a number for each image, from which RandomCAM draws (see `identity`); default: 0, 1, 2, ...
        seeds: how many maps RandomCAM draws for each image.
        chunk: how many ablated or masked inputs are held at once.

    Returns:
        Logits and heat maps on the device, in [0, 1] and at each stage's own resolution; see `full_heat` to see them on
        the image.

    Raises:
        UserError: a method, stage or target is unknown, or there is not one target for each image.
    """
    images = jnp.asarray(images)
    variables = without_taps(variables)
    shown = tuple(stages) if stages is not None else network.stages[-1:]
    run = _program(network, tuple(methods), shown, seeds, chunk)
    chosen = _target(network, variables, images, target)
    drawn = jnp.arange(len(images)) if identities is None else jnp.asarray(identities)
    if len(drawn) != len(images):
        raise UserError(f"{len(drawn)} identities for {len(images)} images")
    return run(variables, images, chosen, drawn)


@lru_cache(maxsize=32)
def _program(network: Any, methods: tuple[str, ...], stages: tuple[str, ...], seeds: int, chunk: int) -> Any:
    return build(network, methods, stages, seeds=seeds, chunk=chunk)


@lru_cache(maxsize=32)
def _forward(network: Any) -> Any:
    def forward(variables: Variables, images: Float[Array, "b h w c"]) -> Float[Array, "b outputs"]:
        return map_groups(partial(network.apply, variables, train=False), images)

    return jax.jit(forward, compiler_options=compilation.options())


def _target(network: Any, variables: Variables, images: Float[Array, "b h w c"], target: Any) -> Target:
    batch = len(images)
    if isinstance(target, Target):
        labels, signs = (jnp.asarray(part) for part in target)
    elif isinstance(target, str):
        if target not in ("predicted", "highest"):
            raise UserError(f"no target {target!r}: give 'predicted', 'highest', a number, or a number for each image")
        logits = _forward(network)(variables, images)
        labels, signs = targets.predicted(logits) if target == "predicted" else targets.highest(logits)
    else:
        labels = jnp.asarray(target)
        labels = jnp.full(batch, labels) if labels.ndim == 0 else labels
        signs = jnp.ones(labels.shape)
    if labels.shape != (batch,) or signs.shape != (batch,):
        raise UserError(f"{labels.size} targets for {batch} images: give one for each, or a single number for all")
    outputs = _forward(network).eval_shape(variables, images).shape[-1]  # traced once, unlike jax.eval_shape
    if not bool(jnp.all((labels >= 0) & (labels < outputs))):
        raise UserError(f"targets {np.unique(labels).tolist()}: the network has logits 0 to {outputs - 1}")
    return Target(labels, signs)
