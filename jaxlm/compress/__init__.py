"""Smaller models: weights in 8 or 4 bits, weights that are zero, and students of larger models."""
