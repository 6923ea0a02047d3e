"""From a float model and samples to the INT8 model: recipes, fits, which of them is accepted, tuning."""
