"""The INT8 model as MLflow loads and serves it. MLflow copies this file into the model, so it imports nothing of ours.

The artifact ``interface`` names ``inputs`` and ``outputs`` of the IR in its order.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

# As in tasks/__init__.py: OpenVINO sends no events unless PTQ_TELEMETRY allows it.
if os.environ.get("PTQ_TELEMETRY", "").lower() not in ("1", "true", "yes"):
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov

# The same numbers as in evaluation: float32, whatever the CPU prefers.
PROPERTIES = {"INFERENCE_PRECISION_HINT": "f32"}


class OpenVinoModel(PythonModel):
    """The IR of the artifact ``ir``, compiled once."""

    def load_context(self, context: Any) -> None:
        """Compile the model.

        Args:
            context: Has the paths of the artifacts.
        """
        self._interface = json.loads(Path(context.artifacts["interface"]).read_text(encoding="utf-8"))
        self._compiled = ov.Core().compile_model(Path(context.artifacts["ir"]) / "model.xml", "CPU", PROPERTIES)

    # MLflow would check what a hint says, which the signature does better.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Outputs by name.

        Args:
            context: Not used.
            model_input: An array, or arrays by name if there are several inputs.
            params: Not used.
        """
        names = self._interface["inputs"]
        arrays = model_input if isinstance(model_input, dict) else {names[0]: model_input}
        # A request of its own: a server calls this from several threads.
        request = self._compiled.create_infer_request()
        request.infer({place: np.asarray(arrays[name]) for place, name in enumerate(names)})
        outputs = zip(self._interface["outputs"], request.output_tensors, strict=True)
        return {name: np.array(tensor.data) for name, tensor in outputs}


set_model(OpenVinoModel())
