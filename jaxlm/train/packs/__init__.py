"""Runs that share a program: one after another, one a device, or vmapped."""
