"""What lies in a source folder: a walk over it, and which names and pictures are no class and no film."""
