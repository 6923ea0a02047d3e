"""What a run tells: the report, the errors of layers, speed, the summary in the terminal."""
