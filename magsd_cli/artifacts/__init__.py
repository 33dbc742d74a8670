"""The room that knows file names, schemas, hashes, atomic writes and locks."""
