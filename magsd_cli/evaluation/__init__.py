"""What a run is worth, worked out once."""
