"""The composed configuration, checked once: its schema, parameters of DefaultQuantization, messages."""
