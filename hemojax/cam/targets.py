"""What is explained: one raw logit with a sign, never a probability.

A target is data, not code, so that every image of a batch can have its own: `score = sign * logits[label]`. The sign is
-1 where the negative class of a binary label is explained.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hemojax.cam.method import check_name


class Target(NamedTuple):
    """The logit to explain of one image, or of each image of a batch.

    Attributes:
        label: which logit.
        sign: +1 for its positive class, -1 for its negative class.
    """

    label: Int[Array, "*batch"]
    sign: Float[Array, "*batch"]


Choose = Callable[[Bool[Array | np.ndarray, "b outputs"], Float[Array | np.ndarray, "b outputs"]], Target]


def score(logits: Float[Array, " outputs"], target: Target) -> Float[Array, ""]:
    """The target's score of one image."""
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
