"""Architectures, one a file, built from the layers of `jaxlm.nn`."""
