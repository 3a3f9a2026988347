"""Tests with names of their own, so that pytest tells them from those of tests/models."""
