"""Train the cells of an ablation: in this process, in a pool of processes, or on Ray."""
