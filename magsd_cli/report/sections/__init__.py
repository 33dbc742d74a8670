"""The sections of a run's report, one heading a file: each takes values and returns blocks."""
