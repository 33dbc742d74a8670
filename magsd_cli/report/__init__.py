"""`magsd report`."""
