"""Where samples come from: sources and preprocessing; samples in, numpy arrays out."""
