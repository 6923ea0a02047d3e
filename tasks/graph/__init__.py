"""The structure of OpenVINO models: reading it, deciding where to quantize, editing it."""
