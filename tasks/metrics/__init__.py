"""What a model's outputs are worth: adapters that read them, postprocessing of boxes, metrics from libraries."""
