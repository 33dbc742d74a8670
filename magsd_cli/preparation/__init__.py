"""From sources of X-rays to a cache (`magsd prepare`)."""
