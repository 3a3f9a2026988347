"""Federated learning: its config."""
