"""A decoder whose keys and values are a state of the model."""

from importlib import import_module

import openvino as ov
from openvino._offline_transformations import apply_make_stateful_transformation

from tests.zoo.torch_weights import load


def gpt() -> ov.Model:
    """A GPT of 3 layers of 96: ids of any number in, their logits out; the state holds what came before."""
    from tests.zoo.topologies import enliven  # noqa: PLC0415 - which imports this module

    torch = load("torch")
    torch.manual_seed(0)
    network = import_module("tests.zoo.modules").Gpt().eval()
    enliven(network, torch)
    past = [torch.zeros(1, 4, 3, 24) for _ in range(6)]
    shapes = [ov.PartialShape([1, -1]), *[ov.PartialShape([1, 4, -1, 24])] * 6]
    with torch.no_grad():
        model = ov.convert_model(network, example_input=(torch.ones((1, 5), dtype=torch.int64), *past), input=shapes)
    pairs = {}
    for number, (port, output) in enumerate(zip(model.inputs[1:], model.outputs[1:], strict=True)):
        port.get_tensor().set_names({f"past{number}"})
        output.get_tensor().set_names({f"now{number}"})
        pairs[f"past{number}"] = f"now{number}"
    model.inputs[0].get_tensor().set_names({"ids"})
    apply_make_stateful_transformation(model, pairs)
    return model
