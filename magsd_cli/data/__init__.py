"""What is on disk becomes pixels and labels: decoding, layouts of data sets, folds, the leak audit."""
