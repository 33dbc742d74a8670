"""`magsd train` and `magsd cv`."""
