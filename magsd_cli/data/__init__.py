"""Files on disk become pixels and labels: decoding, layouts of data sets."""
