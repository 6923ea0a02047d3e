"""Sources of samples and their preprocessing: files in, numpy arrays and annotations out."""
