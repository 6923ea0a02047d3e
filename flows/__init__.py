"""When the steps run: order and branching. The only readers of Hydra."""
