"""RandomCAM, the floor that every table shows, and the keys that make it reproducible."""

import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from hemojax.cam.method import Inputs


def randomcam(inputs: Inputs) -> Float[Array, "h w k"]:
    """RandomCAM: w_k A_k with w_k drawn uniformly from [-1, 1) (PGC's RandomCAM); summed over k."""
    activations = inputs.activations
    return activations * jax.random.uniform(inputs.key, activations.shape[-1:], activations.dtype, -1, 1)


def identity(case: str, index: int) -> int:
    """A number in [0, 2^31) for slice `index` of `case`, the same in every run and on every machine."""
    return zlib.crc32(f"{case}/{index}".encode()) & 0x7FFFFFFF


def sample_keys(identity: Int[Array, ""], stage: int, seeds: int) -> Key[Array, " seeds"]:
    """One key for each seed 0, 1, ...: from the sample's identity and the stage's number, not its place in a batch."""
    sample = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), identity), stage)
    return jax.vmap(lambda seed: jax.random.fold_in(sample, seed))(jnp.arange(seeds))
