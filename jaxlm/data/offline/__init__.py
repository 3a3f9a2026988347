"""What somebody did in an environment, as rows to learn from without acting."""
