"""The verbs that give a run's model to others: export, compress and serve."""
