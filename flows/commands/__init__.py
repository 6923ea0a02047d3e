"""The commands, one file each, and what they check before anything starts."""
