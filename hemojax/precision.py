"""bfloat16 is the networks' computation alone: what is kept or added up is at least float32."""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def wide(dtype: DTypeLike) -> DTypeLike:
    """float32, or the dtype itself where that holds more."""
    return jnp.promote_types(jnp.float32, dtype)


def at_least_float32(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """The values in float32, or as they are where that holds more."""
    return values.astype(wide(values.dtype))
