"""Architectures, one in each file, built from the layers of `jaxlm.nn`."""
