"""Cross-layer equalization of a whole model: pair after pair, in rounds until chains of layers are in balance."""

import numpy as np
import openvino as ov

from tasks.graph.equalization import EqualizationPair, equalize_pair, find_pairs, read_columns, read_rows
from tasks.numerics.equalization import equalizing_factors

# Most rounds; several are needed, as a layer between two pairs belongs to both.
ROUNDS = 8
# A pair stays as it is if the logarithms of all its factors are this small.
_LEAST = 1e-2


def equalize(model: ov.Model) -> tuple[EqualizationPair, ...]:
    """The pairs that changed; the model's weights are equalized in place, without any data.

    Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.1.

    Args:
        model: The float model.
    """
    changed: dict[EqualizationPair, None] = {}
    for _ in range(ROUNDS):
        moved = False
        for pair in find_pairs(model):
            factors = equalizing_factors(read_rows(model, pair), read_columns(model, pair))
            if np.abs(np.log(factors)).max() > _LEAST:
                equalize_pair(model, pair, factors)
                changed[pair] = None
                moved = True
        if not moved:
            break
    model.validate_nodes_and_infer_types()
    return tuple(changed)
