"""Contents of a source folder: a walk over it, and the names and pictures that are no class and no film."""
