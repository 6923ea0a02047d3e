"""All networks of the zoo by name."""

from tests.zoo.packages import PACKAGES
from tests.zoo.topologies import TOPOLOGIES

NETWORKS = {network.name: network for network in (*PACKAGES, *TOPOLOGIES)}
