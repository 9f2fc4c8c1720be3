"""Compiled programs are kept between runs: compiling takes longer than a short job itself."""

import os
import zlib
from pathlib import Path

import jax

LARGEST = 2 * 1024**3  # bytes; the programs not used for longest go first


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
