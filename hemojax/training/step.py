"""One step of training, on every device at once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt16

from hemojax.compilation import with_options
from hemojax.data.loader import Batch
from hemojax.devices import AXIS, platform
from hemojax.models.staged import StagedNetwork
from hemojax.network import Variables
from hemojax.training.erasing import Copies
from hemojax.training.state import TrainState

Metrics = dict[str, Float[Array, ""]]
Inputs = Callable[[UInt16[Array, "b s s w"], Int[Array, " b"], Int[Array, ""]], Float[Array, "b s s c"]]
Erase = Callable[[Variables, Float[Array, "b s s c"], Float[Array, "b l"]], Copies]


def loss(
    logits: Float[Array, "*b l"],
    labels: Float[Array, "*b l"],
    positive_weight: Float[Array, " l"],
    weight: Float[Array, "*b l"] | float = 1.0,
) -> Float[Array, ""]:
    """Mean binary cross-entropy; each term is multiplied by its weight, that of a positive label by the label's too."""
    positive = positive_weight * labels * jax.nn.log_sigmoid(logits)
    return -jnp.mean(weight * (positive + (1 - labels) * jax.nn.log_sigmoid(-logits)))


def gradients(
    network: StagedNetwork,
    state: TrainState,
    image: Float[Array, "b s s c"],
    labels: Float[Array, "b l"],
    *,
    positive_weight: Float[Array, " l"],
    key: PRNGKeyArray,
    weight: Float[Array, "b l"] | float = 1.0,
) -> tuple[TrainState, Float[Array, ""]]:
    """Gradients on this device's share of the batch, averaged over the devices.

    Must run under an axis named AXIS, with a network made for it, so that batch norm sees the whole batch.

    Returns:
        a state whose `params` are the gradients and whose `batch_stats` are the new statistics, and the mean loss.
    """

    def objective(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, updates = network.apply(variables, image, train=True, mutable=["batch_stats"], rngs={"dropout": key})
        return loss(logits, labels, positive_weight, weight), updates["batch_stats"]

    (value, batch_stats), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    grads, value, batch_stats = jax.lax.pmean((grads, value, batch_stats), AXIS)
    return state.replace(params=grads, batch_stats=batch_stats), value


def build(
    network: StagedNetwork,
    optimiser: optax.GradientTransformation,
    *,
    positive_weight: Float[Array, " l"],
    key: PRNGKeyArray,
    inputs: Inputs,
    erase: Erase | None = None,
    mesh: Mesh | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The pmapped step: the state goes in and out once, not a copy a device; the batch has a leading device axis.

    Dropout differs from device to device and from step to step, and is the same whenever a step is run again.

    Args:
        network: made for the axis AXIS.
        optimiser: its state is part of the step's.
        positive_weight: see `loss`.
        key: of dropout.
        inputs: the network's inputs on a device, given the levels and the numbers of its slices, and the step's number.
        erase: makes of a device's inputs and labels those with erased copies, see `erasing.with_copies`.
        mesh: the devices; default: this process's, and those of the other hosts.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        image = inputs(batch.levels, batch.record, state.step)
        own_key = jax.random.fold_in(jax.random.fold_in(key, state.step), jax.lax.axis_index(AXIS))
        learnt = erase(state.variables, image, batch.labels) if erase else Copies(image, batch.labels, 1.0)
        new, value = gradients(
            network,
            state,
            learnt.image,
            learnt.labels,
            positive_weight=positive_weight,
            key=own_key,
            weight=learnt.weight,
        )
        updates, opt_state = optimiser.update(new.params, state.opt_state, state.params)
        metrics = {"loss": value, "gradient_norm": optax.tree.norm(new.params)}
        params = optax.apply_updates(state.params, updates)
        return new.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

    own = None if mesh is None else list(mesh.devices.flat)
    mapped = jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=(None, None), devices=own)
    return with_options(mapped, platform(mesh))
