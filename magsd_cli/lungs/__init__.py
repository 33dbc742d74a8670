"""Where the lungs are on a film: a small network in ONNX Runtime, and the crop around them. Without torch."""
