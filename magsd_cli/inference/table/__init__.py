"""The table that predict makes: its rows while they come, and the file or folder that they end in."""
