"""One stage for each command: it reads and writes artifacts and calls the rooms that compute."""
