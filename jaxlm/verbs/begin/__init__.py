"""The verbs of the first hour: what there is to train, training it, and something of one's own."""
