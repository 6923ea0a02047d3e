"""What has to run the model: inference, observers, calibration, ranges, corrections, tuning, evaluation, speed."""
