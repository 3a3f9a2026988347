"""Sampling from models that are seen only through `init`, `apply` and `init_cache`."""
