"""Configurations of the Post-training Optimization Tool and its Accuracy Checker, as settings of this project."""
