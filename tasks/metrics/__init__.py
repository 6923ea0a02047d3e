"""Metrics of a model's outputs: adapters that read them, postprocessing of boxes, metrics from libraries."""
