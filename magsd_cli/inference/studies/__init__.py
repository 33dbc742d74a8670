"""`predict --by study`: the answer for a study from those for its images, and the table of studies."""
