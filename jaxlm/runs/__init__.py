"""A run's folder: settings, code, lineage, checkpoints and their seals, weights, configs as JSON."""
