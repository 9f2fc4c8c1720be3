"""A linear filter of images along both axes, as products of matrices that every platform's compiler takes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def filtered(
    images: Float[Array, "*b h w c"], rows: Float[Array, "i h"], columns: Float[Array, "j w"]
) -> Float[Array, "*b i j c"]:
    """Each channel's plane P as `rows @ P @ columns.T`, in full precision.

    Channel by channel: as one `einsum` on images whose channels come last, the product's result is transposed, and
    XLA's Triton kernels for matrix products cannot be divided into tiles that follow it unless sides are powers of two.

    Args:
        images: any number of them.
        rows: what each row of the result takes from the image's rows.
        columns: the same for columns.
    """
    planes = jnp.moveaxis(images, -1, -3)
    highest = jax.lax.Precision.HIGHEST
    both = jnp.matmul(jnp.matmul(rows, planes, precision=highest), columns.T, precision=highest)
    return jnp.moveaxis(both, -3, -1)
