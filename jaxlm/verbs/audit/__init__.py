"""The verb that attacks a run, to see what its model gives away of the training data."""
