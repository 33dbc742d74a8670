"""Work on a machine: devices, signals, worker processes, a cluster. Knows nothing of the project."""
