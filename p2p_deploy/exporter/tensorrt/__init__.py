"""Building a TensorRT plan. Needs neither torch nor onnx, so a plan can be rebuilt where only a runtime is."""
