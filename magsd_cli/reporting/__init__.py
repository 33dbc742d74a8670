"""Figures, Markdown and HTML of a report, from plain values; files are written by the stage."""
