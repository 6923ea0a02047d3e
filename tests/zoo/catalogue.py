"""All networks of the zoo by name."""

from tests.zoo.packages import PACKAGES

NETWORKS = {network.name: network for network in PACKAGES}
