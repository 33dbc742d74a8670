"""Measures: rates, ROC, IoU, intervals, comparisons. Arrays in, plain numbers out."""
