"""A functional research toolkit in JAX: training steps are values that compose."""
