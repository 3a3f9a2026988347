"""What an agent does for an observation, and an episode of it to look at."""
