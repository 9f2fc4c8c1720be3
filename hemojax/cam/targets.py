"""What is explained: one raw logit with a sign, never a probability.

A target is data, not code, so that every image of a batch can have its own: `score = sign * logits[label]`. The sign is
-1 where the negative class of a binary label is explained.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hemojax.errors import UserError, check_name


class Target(NamedTuple):
    """The logit to explain of one image, or of each image of a batch.

    Attributes:
        label: which logit.
        sign: +1 for its positive class, -1 for its negative class.
    """

    label: Int[Array, "*batch"]
    sign: Float[Array, "*batch"]


class Contrast(NamedTuple):
    """A score that compares the logits of one image, or of each image of a batch: the sum of weight times logit.

    Attributes:
        weights: of each logit.
    """

    weights: Float[Array, "*batch outputs"]


AnyTarget = Target | Contrast
Choose = Callable[[Bool[Array | np.ndarray, "b outputs"], Float[Array | np.ndarray, "b outputs"]], Target]


def score(logits: Float[Array, " outputs"], target: AnyTarget) -> Float[Array, ""]:
    """The target's score of one image."""
    if isinstance(target, Contrast):
        return jnp.sum(target.weights * logits)
    return target.sign * logits[target.label]


def fixed(index: int, batch: int) -> Target:
    """The positive class of label `index`, for a batch of images."""
    return Target(jnp.full(batch, index), jnp.ones(batch))


def ground_truth(truth: Bool[Array | np.ndarray, "b outputs"]) -> Target:
    """Each image's first true label; where none is true, the negative class of the first label."""
    return _signed(jnp.asarray(truth), jnp.argmax(jnp.asarray(truth), axis=1))


def predicted(logits: Float[Array | np.ndarray, "b outputs"]) -> Target:
    """Each image's label with the highest logit: its positive class if that is above 0, else its negative class."""
    return _signed(jnp.asarray(logits) > 0, jnp.argmax(jnp.asarray(logits), axis=1))


def highest(logits: Float[Array | np.ndarray, "b outputs"]) -> Target:
    """Each image's label with the highest logit, its positive class: of classes that exclude each other (softmax)."""
    label = jnp.argmax(jnp.asarray(logits), axis=1)
    return Target(label, jnp.ones(label.shape))


def contrast(
    logits: Float[Array | np.ndarray, "b outputs"],
    label: Int[Array | np.ndarray, " b"],
    references: int = 3,
    strength: float = 0.6,
) -> Contrast:
    """Finer-CAM's target, for any method: y_c - strength * mean_t y_t (Zhang et al. 2025, arXiv:2501.11309).

    The references t are the labels whose logits are nearest to that of c; all others, where there are fewer. So does
    torch-cam 0.5.0; pytorch-grad-cam weighs them by their probabilities.

    Args:
        logits: of each image.
        label: c of each image.
        references: how many.
        strength: of the comparison.

    Raises:
        UserError: there is a single logit, and nothing to compare it with.
    """
    logits = jnp.asarray(logits)
    outputs = logits.shape[1]
    if outputs < 2:
        raise UserError("Finer-CAM compares labels, and the network has a single one: explain that with another target")
    own = jax.nn.one_hot(label, outputs, dtype=logits.dtype)
    distance = jnp.abs(logits - jnp.sum(own * logits, axis=1, keepdims=True))
    nearest = jnp.argsort(jnp.where(own > 0, jnp.inf, distance), axis=1)[:, : min(references, outputs - 1)]
    others = jax.nn.one_hot(nearest, outputs, dtype=logits.dtype).mean(axis=1)
    return Contrast(own - strength * others)


def _signed(positive: Bool[Array, "b outputs"], label: Int[Array, " b"]) -> Target:
    chosen = jnp.take_along_axis(positive, label[:, None], axis=1)[:, 0]
    return Target(label, jnp.where(chosen, 1.0, -1.0))


def resolve(name: str, labels: Sequence[str]) -> Choose:
    """Finds the target that a config names.

    Args:
        name: "ground_truth" or "predicted" (see there), or the name of a label, for its positive class.
        labels: the names of the network's outputs, in order.

    Returns:
        A function of the truth and the logits of a batch, of which it takes what it needs.

    Raises:
        UserError: if no target has that name.
    """
    check_name(name, ("ground_truth", "predicted", *labels), "target")
    if name == "ground_truth":
        return lambda truth, logits: ground_truth(truth)
    if name == "predicted":
        return lambda truth, logits: predicted(logits)
    return lambda truth, logits: fixed(labels.index(name), len(logits))
