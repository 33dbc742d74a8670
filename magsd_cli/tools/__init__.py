"""Tools that keep runs and machines in order: demo, doctor, verify."""
