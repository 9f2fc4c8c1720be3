"""Computes what the methods need, in batches, and maps every image to its heat maps in one compiled program.

One forward gives the activations of every stage, one backward the gradients of every stage. Channels are ablated and
masked in groups, so that memory does not grow with their number. Every map is a function of its own image alone:
neither batch, chunk nor the number of devices changes it beyond rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from hemojax.cam import postprocess
from hemojax.cam.method import Inputs, Method, check_name
from hemojax.cam.random import sample_keys
from hemojax.cam.registry import METHODS
from hemojax.cam.targets import Target, score

Variables = Mapping[str, Any]
Scores = Callable[[Float[Array, "n ..."]], Float[Array, "n outputs"]]


class Explanation(NamedTuple):
    """What the engine gives for a batch.

    Attributes:
        logits: (b, outputs).
        maps: by (stage, method): (b, h, w) at the stage's own resolution in [0, 1]; (b, seeds, h, w) of RandomCAM.
    """

    logits: Float[Array, "b outputs"]
    maps: dict[tuple[str, str], Float[Array, "b ..."]]


def build(
    network: Any,
    methods: Sequence[str],
    stages: Sequence[str],
    *,
    seeds: int = 10,
    chunk: int = 64,
    mesh: Mesh | None = None,
    compiler_options: Mapping[str, Any] | None = None,
) -> Callable[
    [Variables, Float[Array, "b height width channels"], Target, Int[Array, " b"]],
    Explanation,
]:
    """Makes the jitted function that explains a batch; it compiles once for each shape of batch.

    Args:
        network: a `StagedNetwork`; it is run with `train=False`.
        methods: names out of `METHODS`.
        stages: names out of `network.stages`.
        seeds: how many maps RandomCAM draws for each image.
        chunk: how many ablated or masked inputs a device holds at once (one for each of its images if those are more).
        mesh: devices over which the batch is divided, with the one axis "data"; the batch must be a multiple of them.
        compiler_options: XLA's, for this program alone.

    Returns:
        `explain(variables, images, target, identities)`, a `jax.jit` function, so that `.lower(...).compile()` is there
        to time. `target` holds one target for each image, `identities` one integer for each (see `random.identity`).
        With a mesh, place the variables once: `jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))`.

    Raises:
        UserError: if a method or a stage is unknown.
    """
    for name in methods:
        check_name(name, tuple(METHODS), "method")
    for name in stages:
        check_name(name, network.stages, "stage")
    needs = frozenset[str]().union(*(METHODS[name].needs for name in methods))
    devices = 1 if mesh is None else mesh.size

    def explain(
        variables: Variables,
        images: Float[Array, "b height width channels"],
        target: Target,
        identities: Int[Array, " b"],
    ) -> Explanation:
        logits, activations, gradients = tapped(network, variables, images, target, stages, "gradients" in needs)
        group = max(1, chunk * devices // len(images))
        maps = {}
        for stage in stages:
            inputs = Inputs(_at_least_float32(activations[stage]))
            if "gradients" in needs:
                inputs = inputs._replace(gradients=_at_least_float32(gradients[stage]))
            if "score" in needs:
                inputs = inputs._replace(score=jax.vmap(score)(logits, target))
            if "ablated_scores" in needs:
                ablated = ablated_scores(network, variables, stage, activations[stage], target, group)
                inputs = inputs._replace(ablated_scores=ablated)
            if "masked_scores" in needs:
                masked = masked_scores(network, variables, images, activations[stage], target, group)
                inputs = inputs._replace(masked_scores=masked)
            if "key" in needs:
                number = network.stages.index(stage)
                keys = jax.vmap(lambda identity, number=number: sample_keys(identity, number, seeds))(identities)
                inputs = inputs._replace(key=keys)
            for name in methods:
                maps[stage, name] = jax.vmap(lambda one, method=METHODS[name]: _heat(method, one))(inputs)
        return Explanation(logits, maps)

    options = None if compiler_options is None else dict(compiler_options)
    if mesh is None:
        return jax.jit(explain, compiler_options=options)
    everywhere, divided = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    return jax.jit(
        explain,
        in_shardings=(everywhere, divided, divided, divided),
        out_shardings=divided,
        compiler_options=options,
    )


def tapped(
    network: Any,
    variables: Variables,
    images: Float[Array, "b height width channels"],
    target: Target,
    stages: Sequence[str],
    with_gradients: bool,
) -> tuple[Float[Array, "b outputs"], dict[str, Array], dict[str, Array]]:
    """One forward and at most one backward: the logits, and A and ds/dA of the stages asked for.

    The scores are summed over the batch before the backward. In eval mode no image touches another, so each gradient is
    that of its own image's score.
    """
    if not with_gradients:
        logits, sown = network.apply(variables, images, train=False, mutable=["intermediates"])
        return _at_least_float32(logits), sown["intermediates"], {}
    _, taps = jax.eval_shape(
        lambda: network.apply(variables, images, train=False, mutable=["intermediates", "perturbations"])
    )
    zeros = {name: jnp.zeros(tap.shape, tap.dtype) for name, tap in taps["perturbations"].items()}

    def total(perturbations: dict[str, Array]) -> tuple[Float[Array, ""], tuple[Array, dict[str, Array]]]:
        # Differentiating only what is asked for ends the backward pass at the earliest of those stages.
        everything = {**variables, "perturbations": {**zeros, **perturbations}}
        logits, sown = network.apply(everything, images, train=False, mutable=["intermediates"])
        logits = _at_least_float32(logits)
        return jnp.sum(jax.vmap(score)(logits, target)), (logits, sown["intermediates"])

    gradients, (logits, activations) = jax.grad(total, has_aux=True)({stage: zeros[stage] for stage in stages})
    return logits, activations, gradients


def ablated_scores(
    network: Any, variables: Variables, stage: str, activations: Float[Array, "b h w k"], target: Target, group: int
) -> Float[Array, "b k"]:
    """The score of each image with each channel of the stage set to zero, by running only what follows the stage."""
    channels = jnp.arange(activations.shape[-1])

    def inputs(chosen: Int[Array, " c"]) -> Float[Array, "b c h w k"]:
        kept = chosen[:, None] != channels
        return activations[:, None] * kept[:, None, None].astype(activations.dtype)

    def suffix(x: Float[Array, "n h w k"]) -> Float[Array, "n outputs"]:
        return network.apply(variables, x, train=False, after=stage)

    return _scores_by_channel(suffix, inputs, len(channels), target, group)


def masked_scores(
    network: Any,
    variables: Variables,
    images: Float[Array, "b height width channels"],
    activations: Float[Array, "b h w k"],
    target: Target,
    group: int,
) -> Float[Array, "b k"]:
    """The score of each image times each channel of the stage, upsampled to the image and then scaled to [0, 1].

    The paper does not say how to interpolate. Here: half-pixel bilinear, as everywhere in hemojax (PGC aligns corners),
    then scaled with PGC's eps of 1e-8, so that a dead channel masks everything. As in PGC, the mask multiplies the
    network's input as it stands: what is masked takes the value 0 of the normalised input.
    """
    batch, height, width, _ = images.shape

    def inputs(chosen: Int[Array, " c"]) -> Float[Array, "b c height width channels"]:
        shape = (batch, height, width, len(chosen))
        channels = _at_least_float32(activations[..., chosen])
        masks = jax.image.resize(channels, shape, "linear", antialias=False)
        low, high = (extreme(masks, axis=(1, 2), keepdims=True) for extreme in (jnp.min, jnp.max))
        masks = jnp.moveaxis((masks - low) / (high - low + 1e-8), -1, 1)
        return images[:, None] * masks[..., None].astype(images.dtype)

    def whole(x: Float[Array, "n height width channels"]) -> Float[Array, "n outputs"]:
        return network.apply(variables, x, train=False)

    return _scores_by_channel(whole, inputs, activations.shape[-1], target, group)


def _scores_by_channel(
    forward: Scores, inputs: Callable[[Int[Array, " c"]], Array], channels: int, target: Target, group: int
) -> Float[Array, "b k"]:
    """Runs the network on one input for each image and channel, `group` channels at a time.

    Args:
        forward: inputs (n, ...) to logits.
        inputs: makes the inputs (b, c, ...) of the given channels.
        channels: how many there are.
        target: one for each image.
        group: channels at a time.

    Returns:
        The scores.
    """
    group = min(group, channels)
    groups = -(-channels // group)
    # The last group repeats the last channel instead of being shorter: one shape, one compilation.
    chosen = jnp.minimum(jnp.arange(groups * group), channels - 1).reshape(groups, group)

    def of_group(chosen: Int[Array, " c"]) -> Float[Array, "c b"]:
        x = inputs(chosen)
        logits = _at_least_float32(forward(x.reshape(-1, *x.shape[2:])))
        logits = logits.reshape(*x.shape[:2], -1)
        return jax.vmap(jax.vmap(score), in_axes=(1, None))(logits, target)

    scores = jax.lax.map(of_group, chosen)
    return scores.reshape(groups * group, -1)[:channels].T


def _heat(method: Method, inputs: Inputs) -> Float[Array, "... h w"]:
    """The heat map of one image, or one for each of its keys."""
    if "key" not in method.needs:
        return postprocess.heat(method.fn(inputs))
    return jax.vmap(lambda key: postprocess.heat(method.fn(inputs._replace(key=key))))(inputs.key)


def _at_least_float32(values: Float[Array, "..."]) -> Float[Array, "..."]:
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))
