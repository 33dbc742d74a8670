"""Prepared images become probabilities and attention."""
