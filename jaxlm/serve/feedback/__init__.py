"""Feedback on the answers of a service: stored, and written as a training set."""
