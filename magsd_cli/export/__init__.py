"""`magsd export`: a run as one file that predicts without torch."""
