"""Sources of X-rays become a cache (`magsd prepare`)."""
