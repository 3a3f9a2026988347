"""Predictors that make pictures, and that find boxes in them."""
