"""Several trials of one command: what they are, how each runs, the table, which is best."""
