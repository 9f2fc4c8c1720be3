"""How programs are compiled: with which options, and that they are kept between runs.

Compiling takes longer than a short job itself.
"""

import os
import zlib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

LARGEST = 2 * 1024**3  # bytes; the programs not used for longest go first


def options(platform: str) -> dict[str, Any]:
    """XLA's options for a program with convolutions, for that program alone (`compiler_options` of `jax.jit`).

    They depend on the platform that the program is for.

    On a CPU XLA gives convolutions, matrix products and sums to YNNPACK, whose convolutions are 1.2 to 4 times slower
    than XLA's older ones: one option names the two others. The other lets loops fill vectors of 512 bits where the
    processor has them, twice what LLVM prefers: an EfficientNetV2-S gains 4 to 6 %, a ResNet-50 up to 2 %.
    """
    if platform != "cpu":
        return {}
    return {
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE",
        "xla_cpu_prefer_vector_width": 512,
    }


class Program:
    """`jax.jit` with `options`, which may be called inside of another trace.

    JAX takes compiler options for outermost programs alone: inside of a user's own `jax.jit`, `jax.grad`, `jax.vmap` or
    `jax.shard_map` this one goes without, as part of theirs. Theirs then wants them (`jax.jit(...,
    compiler_options=hemojax.compilation.options("cpu"))`).

    Args:
        function: what is compiled.
        platform: what for, "cpu", "gpu" or "tpu"; default: this process's devices, which are not looked for earlier
            than that.
        more: XLA's options beside those of `options`.
    """

    def __init__(
        self, function: Callable[..., Any], platform: str | None = None, more: Mapping[str, Any] | None = None
    ):
        self._function, self._platform, self._more = function, platform, dict(more or {})

    @cached_property
    def _outermost(self) -> Any:
        return jax.jit(self._function, compiler_options=options(self._platform or jax.default_backend()) | self._more)

    @cached_property
    def _inner(self) -> Any:
        return jax.jit(self._function)

    def __call__(self, *arguments: Any) -> Any:
        """The function's values."""
        return (self._inner if _traced(arguments) else self._outermost)(*arguments)

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """The lowered program for arguments of these shapes, as of `jax.jit`."""
        return self._outermost.lower(*arguments)

    def trace(self, *arguments: Any) -> jax.stages.Traced:
        """The traced program for arguments of these shapes, as of `jax.jit`; another platform may be lowered for."""
        return self._outermost.trace(*arguments)

    def eval_shape(self, *arguments: Any) -> Any:
        """The shapes of the values; traced once for arguments of the same shapes, unlike with `jax.eval_shape`."""
        return self._inner.eval_shape(*arguments)


def _traced(arguments: Any) -> bool:
    """Whether this is inside of a trace; one without traced arguments shows in that new arrays are traced."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in (*jax.tree.leaves(arguments), jnp.zeros(())))


def with_options(mapped: Callable[..., Any], platform: str) -> Callable[..., Any]:
    """A function made by `jax.pmap`, which takes no options itself, with `options`.

    With several hosts it stays as it is: pmap makes one array of their parts, which `jax.jit` would see first.
    """
    chosen = options(platform)
    return jax.jit(mapped, compiler_options=chosen) if chosen and jax.process_count() == 1 else mapped


def keep_programs() -> None:
    """Keep compiled programs in a private folder, unless JAX was told where to keep them, or the folder cannot be made.

    The folder is `$XDG_CACHE_HOME/hemojax/` (by default `~/.cache/hemojax/`), readable by its owner alone. Programs for
    a CPU fit its own instruction set, which JAX does not look at: each kind of processor has a folder of its own, as a
    home may be shared.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "hemojax" / f"programs-{_processor():08x}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
    except OSError:  # a home that cannot be written: compile anew
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", LARGEST)


def _processor() -> int:
    """A number for the instruction set of this machine's processor."""
    try:
        described = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        described = []
    return zlib.crc32("".join(sorted({line for line in described if line.startswith(("flags", "Features"))})).encode())
