"""The contract between networks and class activation maps: a network that can stop at, and start from, a link.

A link is a stage, or the inner tap that follows one.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hemojax.errors import UserError, check_name
from hemojax.models.pooling import LOCAL_POOLINGS
from hemojax.precision import wide

TORCH_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
LOCAL = "local"
"""The module of the head at `local_stage`, which PyTorch's networks have not."""


class StagedNetwork(nn.Module):
    """A classifier as an ordered chain of named links, then pooling and a linear layer.

    A subclass names its stages (`stages`) and inner taps (`taps`), runs one of these links (`run_link`) and turns the
    last one's output into logits (`classify`). Its submodules carry torchvision's names with `_` for `.` (see
    `torch_name`), which also keeps them apart from the links' names: linen reserves those for the sown and the
    perturbed values.

    Attributes:
        outputs: number of logits.
        dtype: dtype of the computation. Parameters and batch statistics are at least float32 (`param_dtype`).
        axis_name: the mapped axis over which batch norm shares its statistics in training (`jax.pmap`), or None.
        local_stage: a link, but not the last, with a linear head of its own: it looks at each position by itself, and
            what it finds there is pooled and added to the logits. "" for none.
        local_pooling: of that head, one of `LOCAL_POOLINGS`.
    """

    outputs: int
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    local_stage: str = ""
    local_pooling: str = "lse"

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, first to last."""
        raise NotImplementedError

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the inner taps: `stage2/expand` is the activation that follows stage2, before stage3 is through."""
        return ()

    @property
    def linear_after(self) -> str | None:
        """The stage behind which there is but a mean, dropout and a dense layer, or None."""
        return None

    @property
    def pointwise_after(self) -> tuple[str, ...]:
        """The stages behind which the network begins with 1x1 convolutions, affine in each position's channels.

        `run_link` then runs these by themselves as `stage5/affine`, ahead of the link that follows. Nothing is tapped
        there.
        """
        return ()

    @property
    def symmetric_padding(self) -> bool:
        """Whether strided convolutions pad alike on both sides, see `cam.registration`."""
        return False

    @property
    def links(self) -> tuple[str, ...]:
        """What can be tapped, first to last: each stage, and behind it its inner taps."""
        return tuple(
            name for stage in self.stages for name in (stage, *(t for t in self.taps if t.startswith(f"{stage}/")))
        )

    @property
    def chain(self) -> tuple[str, ...]:
        """The links, and behind the stages of `pointwise_after` where the network is affine no longer."""
        return tuple(
            step
            for name in self.links
            for step in ((name, f"{name}/affine") if name in self.pointwise_after else (name,))
        )

    @property
    def aliases(self) -> dict[str, str]:
        """Stages by the names that their outputs have in the PyTorch libraries."""
        return {}

    @nn.nowrap
    def resolve(self, name: str) -> str:
        """The stage or inner tap called `name`, which is its own name or one of `aliases`.

        Raises:
            UserError: there is no such stage.
        """
        if name in self.aliases:
            return self.aliases[name]
        check_name(name, self.links, "stage")
        return name

    @property
    def param_dtype(self) -> DTypeLike:
        """float32, or float64 where the computation is in float64."""
        return wide(self.dtype)

    def run_link(self, name: str, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Output of link `name`, or of the affine beginning of the next one, given what comes before it in `chain`."""
        raise NotImplementedError

    def classify(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b outputs"]:
        """Logits from the last stage's output."""
        raise NotImplementedError

    def local_logits(self, x: Float[Array, "b h w c"]) -> Float[Array, "b outputs"]:
        """What the head at `local_stage` adds to the logits, given that link's output. It begins next to nothing."""
        dense = nn.Dense(
            self.outputs,
            use_bias=False,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=nn.initializers.normal(1e-3),
            name=LOCAL,
        )
        return LOCAL_POOLINGS[self.local_pooling](dense(x))

    @nn.nowrap
    def torch_name(self, path: tuple[str, ...]) -> str:
        """Name of a variable's tensor in PyTorch's state dict of this network.

        Here torchvision's: `_` and the levels are its dots, so that ("layer1_0", "downsample_1", "scale") is
        "layer1.0.downsample.1.weight".

        Args:
            path: the variable's path in its collection; the last part is kernel, scale, bias, mean or var.
        """
        *modules, leaf = path
        return ".".join([".".join(modules).replace("_", "."), TORCH_LEAVES[leaf]])

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        train: bool = False,
        after: str | None = None,
        until: str | None = None,
    ) -> Float[Array, "b ..."]:
        """Runs the network, or the part of it between two links.

        Args:
            x: images (NHWC), or the output of link `after` where that is given.
            train: batch norm takes the statistics of the batch (and updates the running ones, collection
                "batch_stats"), dropout and stochastic depth are active (random numbers "dropout").
            after: start behind this link (any name that `resolve` knows, or one of `chain`). Behind `local_stage` the
                logits are without those of its head.
            until: stop at this link's output.

        Returns:
            Logits `(b, outputs)`; with `until`, that link's output `(b, h, w, c)`.

        Raises:
            UserError: a stage is unknown, or `until` does not come after `after`.
        """
        first = 0 if after is None else self._place(after) + 1
        last = len(self.chain) if until is None else self._place(until) + 1
        if until is not None and first >= last:
            raise UserError(f"stage {until!r} does not come after stage {after!r}")
        x = x.astype(self.dtype)
        local = self.local_logits(x) if first and self.chain[first - 1] == self.local_stage else None
        for name in self.chain[first:last]:
            x = self.run_link(name, x, train)
            x = self.tap(name, x) if name in self.links else x
            local = self.local_logits(x) if name == self.local_stage else local
        if until is not None:
            return x
        logits = self.classify(x, train)
        return logits if local is None else logits + local.astype(logits.dtype)

    def _place(self, name: str) -> int:
        return self.chain.index(name if name in self.chain else self.resolve(name))

    def tap(self, name: str, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Adds the variable "perturbations"/`name` if there is one, then sows x into "intermediates"/`name`.

        The gradient with respect to a perturbation of zero is the gradient with respect to the link's output, so
        one backward pass gives it for every link.
        """
        # linen's own check is for the collection as a whole: it refuses perturbations of a part of the links.
        if self.is_mutable_collection("perturbations") or self.has_variable("perturbations", name):
            x = self.perturb(name, x)
        self.sow("intermediates", name, x, init_fn=lambda: None, reduce_fn=lambda _, new: new)
        return x
