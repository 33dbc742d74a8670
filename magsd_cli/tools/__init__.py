"""What keeps runs and machines in order: demo, doctor, verify."""
