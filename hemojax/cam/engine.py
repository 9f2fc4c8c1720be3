"""The one compiled program that maps every image of a batch to its heat maps.

Every map is a function of its own image alone: neither batch, chunk nor number of devices changes it beyond rounding.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from hemojax import devices
from hemojax.cam import mirrors, registration
from hemojax.cam.eigen import principal_projection
from hemojax.cam.inputs import gather, without_taps
from hemojax.cam.method import Inputs, Method
from hemojax.cam.postprocess import heat
from hemojax.cam.registry import METHODS
from hemojax.cam.targets import AnyTarget
from hemojax.compilation import Program
from hemojax.errors import UserError, check_name
from hemojax.groups import map_groups
from hemojax.network import Network, Variables


class Explanation(NamedTuple):
    """What the engine gives for a batch.

    Attributes:
        logits: (b, outputs).
        maps: by (stage, method), each as it was asked for: (b, h, w) at the stage's own resolution in [0, 1];
            (b, seeds, h, w) of RandomCAM.
    """

    logits: Float[Array, "b outputs"]
    maps: dict[tuple[str, str], Float[Array, "b ..."]]


def build(
    network: Network,
    methods: Sequence[str],
    stages: Sequence[str],
    *,
    seeds: int = 10,
    chunk: int = 64,
    mesh: Mesh | None = None,
    eigen_smooth: bool = False,
    registered: bool = False,
    mirrored: Sequence[str] = (),
    platform: str | None = None,
    compiler_options: Mapping[str, Any] | None = None,
) -> Program:
    """Makes the jitted function that explains a batch; it compiles once for each shape of batch.

    Args:
        network: the classifier; it is run with `train=False`.
        methods: names out of `METHODS`.
        stages: names of the network's stages and inner taps, as `network.resolve` knows them.
        seeds: how many maps RandomCAM draws for each image.
        chunk: how many ablated or masked inputs a device holds at most (or one for each of its images); on a CPU it
            takes fewer where that is faster.
        mesh: devices over which the batch, a multiple of their number, is divided along `devices.AXIS`.
        eigen_smooth: project what the channels contribute on their first principal component instead of adding it up
            (PGC's option of that name); a method that is no sum over channels stays as it is.
        registered: draw the masks of ScoreCAM and its kin on the image where the network's cells look (see
            `registration`), and not at half-pixel centres as all libraries do. Maps are drawn later, by whoever asked.
        mirrored: average the maps over copies mirrored along these axes ("i": rows, "j": columns), in as many times the
            time (see `mirrors`). If `registered`, they are moved to half-pixel centres, where they are to be drawn.
        platform: what the program is for, "cpu", "gpu" or "tpu"; default: the mesh's, or this process's devices.
        compiler_options: XLA's, for this program alone, beside those of `compilation.options`.

    Returns:
        `explain(variables, images, target, identities)`, a `Program`, so that `.lower(...).compile()` is there to time,
        and that it may be called inside of another `jax.jit`, `jax.vmap` or `jax.shard_map`.
        `target` holds one target for each image, `identities` one integer for each (see `random.identity`).
        With a mesh, place the variables once: `jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))`.

    Raises:
        UserError: if a method or a stage is unknown, or CAM is asked for where it is not defined.
    """
    for name in methods:
        check_name(name, METHODS, "method")
    resolved = {name: network.resolve(name) for name in stages}
    asked = tuple(dict.fromkeys(resolved.values()))  # one stage may have been named in two ways
    for name in methods:
        if METHODS[name].linear and set(asked) != {network.linear_after}:
            where = f"at {network.linear_after!r}" if network.linear_after else "nowhere in this network"
            raise UserError(f"method {name!r} needs a mean and a linear layer behind its stage: it is defined {where}")
    platform = platform or devices.platform(mesh)
    needs = frozenset[str]().union(*(METHODS[name].needs for name in methods))

    def explain_group(
        variables: Variables,
        images: Float[Array, "b height width channels"],
        target: AnyTarget,
        identities: Int[Array, " b"],
    ) -> Explanation:
        logits, inputs = gather(
            network,
            variables,
            images,
            target,
            identities,
            stages=asked,
            needs=needs,
            seeds=seeds,
            chunk=chunk,
            platform=platform,
            registered=registered,
        )
        return Explanation(
            logits,
            {
                (stage, m): _heat_maps(METHODS[m], inputs[resolved[stage]], eigen_smooth)
                for stage in stages
                for m in methods
            },
        )

    def explain_copies(
        variables: Variables, images: Float[Array, "b height width channels"], *more: Any
    ) -> Explanation:
        shift = partial(registration.shift, network) if registered else lambda _: 0.0
        found = mirrors.averaged(lambda copy: explain_group(variables, copy, *more), images, mirrored, shift)
        return Explanation(*found)

    def explain(variables: Variables, *batch: Any) -> Explanation:
        of_group = explain_copies if mirrored else explain_group
        return map_groups(partial(of_group, without_taps(variables)), platform, *batch)

    if mesh is None:
        return Program(explain, platform, compiler_options)
    everywhere, divided = PartitionSpec(), PartitionSpec(devices.AXIS)
    # shard_map, not automatic partitioning: each device runs the program of its own images, and nothing is exchanged.
    share = jax.shard_map(
        explain,
        mesh=mesh,
        in_specs=(everywhere, divided, divided, divided),
        out_specs=divided,
        check_vma=False,
    )
    return Program(share, platform, compiler_options)


def _heat_maps(method: Method, inputs: Inputs, eigen_smooth: bool) -> Float[Array, "b ..."]:
    """The heat map of each image, or one for each of its keys."""

    def one(inputs: Inputs) -> Float[Array, "h w"]:
        if eigen_smooth and method.contributions:
            return heat(principal_projection(method.contributions(inputs)))
        return heat(method.fn(inputs))

    if "key" in method.needs:
        return jax.vmap(lambda inputs: jax.vmap(lambda key: one(inputs._replace(key=key)))(inputs.key))(inputs)
    return jax.vmap(one)(inputs)
