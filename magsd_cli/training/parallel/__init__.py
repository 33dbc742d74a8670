"""Several processes at work: on the folds of a run, or together on one network."""
