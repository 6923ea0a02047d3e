"""The configuration, yaml files only. This module exists because Hydra finds ``pkg://conf`` through it."""
