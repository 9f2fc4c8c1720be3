"""Class activation maps in JAX, and the benchmark that tells which one points at a brain haemorrhage."""
