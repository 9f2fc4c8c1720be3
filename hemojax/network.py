"""The contract between networks and class activation maps: neither knows more of the other than this."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

Variables = Mapping[str, Any]
"""A network's "params" and "batch_stats", each a tree of arrays."""


@runtime_checkable
class Network(Protocol):
    """A flax linen module that is a chain of named links; `hemojax.models.StagedNetwork` fulfils it.

    A link is a stage, or an inner tap that follows one. Called whole, the module sows each link's output into
    "intermediates" and adds to it the variable of "perturbations" of the same name. Called with `after`, that link's
    output as its input, it runs what follows; with `until`, what comes before and the link itself.
    """

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, first to last."""

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the inner taps: `stage2/expand` is the activation that follows stage2, before stage3 is through."""

    @property
    def linear_after(self) -> str | None:
        """The stage behind which there is but a mean, dropout and a dense layer, or None."""

    @property
    def pointwise_after(self) -> tuple[str, ...]:
        """The stages behind which the network begins with what is affine in each position's channels.

        That runs by itself until `stage5/affine`, where nothing is tapped.
        """

    @property
    def symmetric_padding(self) -> bool:
        """Whether strided convolutions pad alike on both sides, see `cam.registration`."""

    @property
    def local_stage(self) -> str:
        """The link with a head of its own, whose logits are added to those of the chain, or "".

        What follows a later link gives the chain's logits alone.
        """

    def resolve(self, name: str) -> str:
        """The link called `name`, which is its own name or another.

        Raises:
            UserError: there is none.
        """

    def __hash__(self) -> int:
        """Networks of the same attributes are one, as linen's modules are: a program is compiled once for each."""

    @property
    def apply(self) -> Callable[..., Any]:
        """As of `flax.linen.Module`: runs the network on images (NHWC), with `train`, `after` and `until`."""

    @property
    def init(self) -> Callable[..., Any]:
        """As of `flax.linen.Module`: fresh variables."""
