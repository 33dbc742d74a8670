"""`magsd lungs train`: the network that finds lungs."""
