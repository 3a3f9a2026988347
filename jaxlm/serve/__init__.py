"""A service of runs and artefacts over HTTP: batches that form by themselves, limits, and a page to try each model."""
