"""The networks that Table 3 compares MAG-SD with, one file each."""
