"""What training carries from step to step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree
from ml_collections import ConfigDict

from hemojax.errors import check_name
from hemojax.models.staged import StagedNetwork
from hemojax.network import Variables

OPTIMIZERS = ("adam", "adamw")


class TrainState(struct.PyTreeNode):
    """Step number, parameters, batch-norm statistics, and the optimiser's own state."""

    step: Int[Array, ""]
    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree

    @property
    def variables(self) -> Variables:
        """What the network's `apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def optimizer(train: ConfigDict, steps: int) -> optax.GradientTransformation:
    """Adam at a constant rate, or AdamW that warms up linearly and then falls as a cosine to zero.

    Args:
        train: the config's train section.
        steps: steps of the whole training.

    Raises:
        UserError: the config names another optimiser.
    """
    check_name(train.optimizer, OPTIMIZERS, "train.optimizer")
    if train.optimizer == "adam":
        return optax.adam(train.learning_rate)
    warmup = int(train.warmup * steps)
    rate = optax.warmup_cosine_decay_schedule(train.learning_rate / 25, train.learning_rate, warmup, steps)
    return optax.adamw(rate, weight_decay=train.weight_decay)


def initialise(network: StagedNetwork, size: int, channels: int, key: PRNGKeyArray) -> Variables:
    """Fresh parameters and batch-norm statistics for inputs of `size` pixels and `channels` channels."""
    # Compiled as one program: operation by operation it takes many times longer, and the forward pass is not run.
    variables = jax.jit(lambda k: network.init(k, jnp.zeros((1, size, size, channels), network.param_dtype)))(key)
    return {"params": variables["params"], "batch_stats": variables["batch_stats"]}


def create(variables: Variables, optimiser: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    params = variables["params"]
    return TrainState(jnp.zeros((), jnp.int32), params, variables["batch_stats"], optimiser.init(params))


@jax.jit
def _finite(leaves: list[Array]) -> Bool[Array, " n"]:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves])


def not_finite(tree: PyTree) -> list[str]:
    """The names of the arrays that hold NaN or infinity, such as `batch_stats.layer1_0.bn1.var`.

    It is looked for where the arrays are; the flags alone are fetched.
    """
    named = [(path, leaf) for path, leaf in jax.tree.leaves_with_path(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    if not named:
        return []
    flags = np.asarray(_finite([leaf for _, leaf in named]))
    return [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for (path, _), finite in zip(named, flags, strict=True)
        if not finite
    ]
