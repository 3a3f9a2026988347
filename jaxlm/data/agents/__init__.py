"""Data of agents: keys to act with and episodes to play, and files of recorded episodes."""
