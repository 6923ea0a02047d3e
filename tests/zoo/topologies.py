"""Well-known topologies with fixed random weights: what quantization does to their graphs, not what they were taught.

Normalizations are fitted to samples and scales of branches drawn, as training would have left neither at its start.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tests.zoo import pictures, recurrent, sounds
from tests.zoo.networks import Arrays, Network
from tests.zoo.torch_weights import load, named

Generator = np.random.Generator
Values = NDArray[Any]


def images(size: int, generator: Generator, count: int) -> Values:
    """Photos from about -2 to 2, (count, 3, size, size)."""
    chosen = pictures.photos(generator, count, size).astype(np.float32) / 64 - 2
    return np.ascontiguousarray(np.moveaxis(chosen, -1, 1))


def mels(generator: Generator, count: int, frames: int = 200, bands: int = 80) -> Values:
    """Speech in mel bands, from -2 to 2, (count, bands, frames)."""
    power = sounds.spectrum(sounds.speech(generator, count, 160 * frames + 400), 400, 160)[:, :frames]
    scaled = sounds.decibels(sounds.mel(power, bands, 16000)) / 20 + 2
    return np.ascontiguousarray(scaled.transpose(0, 2, 1)).astype(np.float32)


def frames(generator: Generator, count: int) -> Values:
    """The same, frames first."""
    return np.ascontiguousarray(mels(generator, count, 64, 40).transpose(0, 2, 1))


def text(generator: Generator, count: int, length: int = 48, vocabulary: int = 1000) -> Arrays:
    """Ids as often as words are in a text, padded with 0, and the mask."""
    lengths = generator.integers(length // 4, length + 1, count)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    ids = np.minimum(generator.zipf(1.3, (count, length)), vocabulary - 1)
    return {"input_ids": ids * mask, "attention_mask": mask}


def ids(generator: Generator, count: int) -> Values:
    return text(generator, count, 32)["input_ids"] + 1


def timm_image(name: str, size: int, **options: Any) -> ov.Model:
    """A classifier of timm's with random weights."""

    def make() -> Any:
        return load("timm").create_model(name, pretrained=False, num_classes=100, **options)

    return converted(make, images(size, np.random.default_rng(5), 8), "image")


def converted(make: Callable[[], Any], example: Values, name: str) -> ov.Model:
    """A network made with a fixed seed, made like a trained one, as OpenVINO reads it, for one sample at a time."""
    torch = load("torch")
    torch.manual_seed(0)
    network, data = make(), torch.from_numpy(example)
    enliven(network, torch)
    with torch.no_grad():
        network.train()
        network(data)
        network.eval()
        model = ov.convert_model(network, example_input=data[:1], input=[1, *example.shape[1:]])
    return named(model, name)


def enliven(network: Any, torch: Any) -> None:
    """Draw weights that keep the size of what they multiply, scales and shifts that differ; fit statistics at once."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in network.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 2 and "embed" not in name:
            parameter.data = drawn * (1.5 if "_hh_" in name else 1.0) / parameter.shape[1] ** 0.5
        if parameter.ndim != 1:
            continue
        if "bias" in name:
            parameter.data = 0.1 * drawn
        else:
            parameter.data = torch.exp(0.4 * drawn) * (0.3 if "gamma" in name or name.endswith("scale") else 1.0)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
        if isinstance(module, torch.nn.Dropout) or type(module).__name__ == "DropPath":
            module.p = module.drop_prob = 0.0


def bert() -> ov.Model:
    """A BERT of 4 layers of 128, its classes of a text out."""
    torch, transformers = load("torch"), load("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=1000,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=512,
        num_labels=20,
    )
    config._attn_implementation = "eager"
    network = transformers.BertForSequenceClassification(config).eval()
    enliven(network, torch)
    return _text_model(network, torch)


def _text_model(network: Any, torch: Any) -> ov.Model:
    class Logits(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.network(input_ids=input_ids, attention_mask=attention_mask).logits

    ones = torch.ones((1, 48), dtype=torch.int64)
    example = {"input_ids": ones, "attention_mask": ones}
    return named(ov.convert_model(Logits().eval(), example_input=example), "input_ids", "attention_mask")


def unet() -> ov.Model:
    """A U-Net of three levels: a mask out."""
    return converted(
        lambda: import_module("tests.zoo.modules").unet(), images(96, np.random.default_rng(5), 8), "image"
    )


def detr() -> ov.Model:
    """Like DETR: a small convolutional network, an encoder, a decoder with learned queries; classes and boxes out."""
    return converted(
        lambda: import_module("tests.zoo.modules").Detr(), images(96, np.random.default_rng(5), 8), "image"
    )


def whisper_encoder() -> ov.Model:
    """Like Whisper's encoder: two convolutions over time and 4 layers of 128."""
    return converted(
        lambda: import_module("tests.zoo.modules").WhisperEncoder(), mels(np.random.default_rng(5), 8), "mels"
    )


def wavenet() -> ov.Model:
    """Dilated convolutions with gates over time."""
    return converted(lambda: import_module("tests.zoo.modules").WaveNet(), mels(np.random.default_rng(5), 8), "mels")


def gru() -> ov.Model:
    """Two layers of GRU over mel bands, phonemes out."""
    return converted(
        lambda: import_module("tests.zoo.modules").recurrent("GRU"), frames(np.random.default_rng(5), 8), "mels"
    )


def lstm() -> ov.Model:
    """Two layers of LSTM in both directions, phonemes out."""
    return converted(
        lambda: import_module("tests.zoo.modules").recurrent("LSTM"), frames(np.random.default_rng(5), 8), "mels"
    )


def _image(name: str, title: str, timm_name: str, size: int, **options: Any) -> Network:
    model = partial(timm_image, timm_name, size, **options)
    return Network(name, title, "timm", model, partial(images, size), classes=True, random=True)


def _own(
    name: str, title: str, model: Callable[[], ov.Model], samples: Any, source: str = "torch", **more: Any
) -> Network:
    return Network(name, title, source, model, samples, random=True, **more)


TOPOLOGIES = (
    _image("vit", "ViT tiny", "vit_tiny_patch16_224", 96, img_size=96),
    _image("swin", "Swin, 2-2-2-2 blocks", "swin_tiny_patch4_window7_224", 112, img_size=112, depths=(2, 2, 2, 2)),
    _image("convnext", "ConvNeXt atto", "convnext_atto", 96),
    _image("regnet", "RegNetY 200 MF", "regnety_002", 96),
    _image("densenet", "DenseNet-121", "densenet121", 96),
    _image("mobilenet_v3", "MobileNetV3 small", "mobilenetv3_small_100", 128),
    _image("mixer", "MLP-Mixer S/16", "mixer_s16_224", 96, img_size=96),
    _own("unet", "U-Net", unet, partial(images, 96)),
    _own("detr", "DETR-like", detr, partial(images, 96)),
    _own("gru", "GRU", gru, frames),
    _own("lstm", "LSTM, both directions", lstm, frames),
    _own("wavenet", "WaveNet-like", wavenet, mels),
    _own("whisper", "Whisper-like encoder", whisper_encoder, mels),
    _own("bert", "BERT, 4 layers of 128", bert, text, "transformers", classes=True),
    _own("gpt", "GPT with a key-value cache as state", recurrent.gpt, ids, classes=True),
)
