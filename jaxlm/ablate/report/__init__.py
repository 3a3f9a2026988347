"""Tables, statistics and figures of an ablation."""
