"""Follow a number back to its run: rerun, verify, explain, compare."""
