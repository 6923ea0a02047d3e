"""When the steps run: order and branching. The only readers of Hydra."""

import tasks  # noqa: F401 - it keeps libraries silent, so it comes before Prefect
