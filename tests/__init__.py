"""What shows that it works."""

import tasks  # noqa: F401 - it keeps libraries silent, so it comes before whatever a test imports
