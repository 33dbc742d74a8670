"""From prepared images to probabilities and attention."""
