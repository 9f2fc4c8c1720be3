"""Class activation maps in JAX, and the benchmark that tells which one points at a brain haemorrhage."""

__version__ = "0.1.0"
