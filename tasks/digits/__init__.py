"""The built-in example: a small convolutional network for handwritten digits, trained by ``tasks.digits.train``.

Its data, and which third of it the network never saw, are in ``tasks.data.digits``.
"""

from pathlib import Path

MODEL = Path(__file__).with_name("digits.xml")
"""The float model: input ``images`` (samples, 1, 8, 8), 0 to 1; output ``logits`` (samples, 10)."""
