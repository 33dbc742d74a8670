"""Controls beside localize's figures: other maps, and what needs no map at all."""
