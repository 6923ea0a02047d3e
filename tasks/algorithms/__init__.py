"""What has to run the model: inference, calibration, evaluation, speed."""
