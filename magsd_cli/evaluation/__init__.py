"""The evaluation of a run, worked out once."""
