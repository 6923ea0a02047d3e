"""Small networks in PyTorch; imported only where they are built."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional


def _block(features: int, width: int, stride: int = 1) -> Any:
    convolution = nn.Conv2d(features, width, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


class UNet(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([_block(3, 16), _block(16, 32, 2), _block(32, 64, 2), _block(64, 128, 2)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(2 * width, width, 2, 2) for width in (64, 32, 16)])
        self.joined = nn.ModuleList([_block(2 * width, width) for width in (64, 32, 16)])
        self.mask = nn.Conv2d(16, 2, 1)

    def forward(self, data: Any) -> Any:
        levels = []
        for block in self.down:
            data = block(data)
            levels.append(data)
        for up, join, level in zip(self.up, self.joined, levels[-2::-1], strict=True):
            data = join(torch.cat([up(data), level], 1))
        return torch.sigmoid(self.mask(data))


def unet() -> Any:
    return UNet()


class Detr(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int = 96, queries: int = 20) -> None:
        super().__init__()
        self.features = nn.Sequential(_block(3, 24, 2), _block(24, 48, 2), _block(48, 96, 2), _block(96, width, 2))
        self.places = nn.Parameter(torch.randn(1, 36, width) * 0.3)
        self.queries = nn.Parameter(torch.randn(1, queries, width))
        options = {"batch_first": True, "dropout": 0.0}
        self.transformer = nn.Transformer(width, 4, 2, 2, 192, **options)
        self.classes, self.boxes = (
            nn.Linear(width, 12),
            nn.Sequential(nn.Linear(width, 96), nn.ReLU(), nn.Linear(96, 4)),
        )

    def forward(self, data: Any) -> Any:
        tokens = self.features(data).flatten(2).transpose(1, 2) + self.places
        found = self.transformer(tokens, self.queries.expand(tokens.shape[0], -1, -1))
        return self.classes(found), torch.sigmoid(self.boxes(found))


class WhisperEncoder(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(80, width, 3, padding=1), nn.Conv1d(width, width, 3, 2, 1)
        self.places = nn.Parameter(torch.randn(1, 100, width) * 0.3)
        self.layers = nn.ModuleList([Attention(width, 4, causal=False) for _ in range(4)])
        self.norm = nn.LayerNorm(width)

    def forward(self, data: Any) -> Any:
        data = functional.gelu(self.second(functional.gelu(self.first(data)))).transpose(1, 2) + self.places
        for layer in self.layers:
            data, _, _ = layer(data)
        return self.norm(data)


class Attention(nn.Module):  # type: ignore[misc]
    """A layer of a transformer, normalizations first; ``past`` are the keys and values before these tokens."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.projection, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, data: Any, keys: Any = None, values: Any = None) -> Any:
        batch, length, width = data.shape
        query, key, value = (
            each.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for each in self.projection(self.before(data)).chunk(3, -1)
        )
        if keys is not None:
            key, value = torch.cat([keys, key], 2), torch.cat([values, value], 2)
        scores = query @ key.transpose(-1, -2) / (width // self.heads) ** 0.5
        if self.causal:
            past = key.shape[2] - length
            later = torch.ones(length, key.shape[2], dtype=torch.bool).triu(1 + past)
            scores = scores.masked_fill(later, -1e4)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, width)
        data = data + self.output(mixed)
        return data + self.inner(self.between(data)), key, value


class WaveNet(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Conv1d(80, width, 1)
        self.gates = nn.ModuleList([nn.Conv1d(width, 2 * width, 3, padding=2**i, dilation=2**i) for i in range(6)])
        self.outputs = nn.ModuleList([nn.Conv1d(width, 2 * width, 1) for _ in range(6)])
        self.last = nn.Sequential(nn.ReLU(), nn.Conv1d(width, width, 1), nn.ReLU(), nn.Conv1d(width, 32, 1))

    def forward(self, data: Any) -> Any:
        data, total = self.first(data), 0
        for gate, output in zip(self.gates, self.outputs, strict=True):
            signal, opening = gate(data).chunk(2, 1)
            residual, skip = output(torch.tanh(signal) * torch.sigmoid(opening)).chunk(2, 1)
            data, total = data + residual, total + skip
        return self.last(total)


class Recurrent(nn.Module):  # type: ignore[misc]
    def __init__(self, kind: str) -> None:
        super().__init__()
        both = kind == "LSTM"
        self.layers = getattr(nn, kind)(40, 128, 2, batch_first=True, bidirectional=both)
        self.phonemes = nn.Linear(256 if both else 128, 40)

    def forward(self, data: Any) -> Any:
        return self.phonemes(self.layers(data)[0])


def recurrent(kind: str) -> Any:
    return Recurrent(kind)


class Gpt(nn.Module):  # type: ignore[misc]
    """A decoder of 3 layers of 96: ids and the keys and values of each layer in, logits and those of now out."""

    def __init__(self, width: int = 96, layers: int = 3, vocabulary: int = 1001) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList([Attention(width, 4, causal=True) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, ids: Any, *past: Any) -> Any:
        data, now = self.embedding(ids), []
        for number, layer in enumerate(self.layers):
            data, key, value = layer(data, past[2 * number], past[2 * number + 1])
            now += [key, value]
        return (self.head(self.norm(data)), *now)
