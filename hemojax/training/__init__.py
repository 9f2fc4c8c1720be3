"""Training with `jax.pmap`, checkpoints with orbax."""
