"""FullGrad, which looks at the image and at every layer with a bias, and so belongs to no stage."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hemojax.cam.postprocess import minmax, resize
from hemojax.cam.scores import scored
from hemojax.cam.targets import AnyTarget
from hemojax.models import layers
from hemojax.network import Network, Variables

CONVOLUTIONS, NORMS = (layers.Conv, nn.Conv), (layers.BatchNorm, nn.BatchNorm)

Offsets = dict[str, Float[Array, "b h w c"]]


def fullgrad(
    network: Network, variables: Variables, images: Float[Array, "b height width channels"], target: AnyTarget
) -> Float[Array, "b height width"]:
    """FullGrad: sum_c psi(x_c dx_c) + sum_l sum_k psi(b_lk db_lk) (Srinivas and Fleuret 2019, equation 8).

    dx = ds/dx, and db_l is the gradient at the output of layer l; its bias b_l is that of a convolution, or what a
    batch norm adds as a whole: bias - mean scale / sqrt(var + epsilon). psi takes the absolute value, scales it to
    [0, 1] and resizes it. As PGC's: a bias's own parameters, every channel scaled by itself, the sum scaled again.
    """

    def total(
        images: Float[Array, "b height width channels"], offsets: Offsets
    ) -> tuple[Float[Array, ""], tuple[dict[str, Float[Array, " c"]], Offsets]]:
        biases, outputs = {}, {}

        def note(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
            y = call(*args, **kwargs)
            if context.method_name != "__call__" or (bias := _bias(context.module)) is None:
                return y
            path = "/".join(context.module.path)
            biases[path], outputs[path] = bias, y
            return y + offsets[path] if path in offsets else y

        with nn.intercept_methods(note):
            logits = network.apply(variables, images, train=False)
        return jnp.sum(scored(logits, target)), (biases, outputs)

    _, (_, shapes) = jax.eval_shape(total, images, {})
    zeros = {path: jnp.zeros(output.shape, output.dtype) for path, output in shapes.items()}
    (dx, db), (biases, _) = jax.grad(total, argnums=(0, 1), has_aux=True)(images, zeros)
    parts = [images * dx, *(bias * db[path] for path, bias in biases.items())]
    _, height, width, _ = images.shape

    def summed(parts: list[Float[Array, "_ _ _"]]) -> Float[Array, "height width"]:
        return minmax(jnp.stack([_psi(part, (height, width)) for part in parts]).sum(0))

    return jax.vmap(summed)(parts)


def _psi(part: Float[Array, "h w c"], size: tuple[int, int]) -> Float[Array, "height width"]:
    """Scaled channel by channel, then summed; resizing is linear, and comes last because it costs most."""
    scaled = jax.vmap(minmax, in_axes=-1, out_axes=-1)(jnp.abs(part))
    return resize(jnp.sum(scaled, axis=-1), size)


def _bias(module: nn.Module) -> Float[Array, " c"] | None:
    """What an affine layer adds to each channel, if anything."""
    if isinstance(module, CONVOLUTIONS):
        return module.variables["params"].get("bias")
    if not isinstance(module, NORMS):
        return None
    params, running = module.variables.get("params", {}), module.variables["batch_stats"]
    factor = params.get("scale", 1) * jax.lax.rsqrt(running["var"] + module.epsilon)
    return params.get("bias", 0) - running["mean"] * factor
