"""Texts with a label each, and sentences with a tag for each word."""
