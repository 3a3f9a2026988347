"""Environments around other environments, and those of other libraries."""
