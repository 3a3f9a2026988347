"""What agents need that learn from what they did before: a replay, and actions of one range."""
