"""Values to pictures and pages; knows no run."""
