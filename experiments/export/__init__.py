"""Networks for use elsewhere: ONNX files and model cards."""
