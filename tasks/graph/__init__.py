"""The structure of OpenVINO models: read them, find layers and patterns, decide where to quantize, edit."""
