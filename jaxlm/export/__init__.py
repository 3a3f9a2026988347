"""A model as one folder that answers without its experiment's code: programs, weights and host halves as data."""
