"""What a run reports: the report, the errors of layers, speed, the summary in the terminal."""
