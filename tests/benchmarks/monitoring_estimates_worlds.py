"""Two small worlds for label-free estimates: a trained network, its held-out images, and others made worse."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import minimize_scalar
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from torch import nn

from tests.benchmarks.datasets import meter_digits
from tests.benchmarks.monitoring_corruptions import CORRUPTIONS, SEVERITIES, Pictures, corrupted

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

_SIDE = 32


@dataclass(frozen=True)
class Scored:
    """
    Images as a model answered them.

    Attributes:
        corruption: "" for those as they are.
        probabilities: (N, K), after the temperature.
        embedding: (N, D), of the layer before the last.
        truth: (N,), class numbers.
        pictures: (N, side, side), 0..1.
    """

    corruption: str
    severity: int
    probabilities: Floats
    embedding: Floats
    truth: Whole
    pictures: Pictures


def digits_world(seed: int) -> Iterator[Scored]:
    """Scanned digits of 8 x 8 and a perceptron: first 600 held-out images, then 597 under every corruption."""
    found = load_digits()
    pictures, labels = found.images / 16.0, found.target.astype(np.int64)
    order = np.random.default_rng([seed, 0]).permutation(len(labels))
    train, select, test = order[:600], order[600:1200], order[1200:]
    network = MLPClassifier(hidden_layer_sizes=(64,), max_iter=300, random_state=seed)
    network.fit(pictures[train].reshape(len(train), -1), labels[train])

    def outputs(images: Pictures) -> tuple[Floats, Floats]:
        hidden = np.maximum(images.reshape(len(images), -1) @ network.coefs_[0] + network.intercepts_[0], 0)
        return hidden @ network.coefs_[1] + network.intercepts_[1], hidden

    yield from _under_every_corruption(outputs, pictures, labels, select, test, seed)


class _SmallNet(nn.Module):
    """Three convolutions and a head; gives logits and the layer before them."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(256, 10)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.features(images)
        return self.head(features), features


def meters_world(folder: Path, seed: int) -> Iterator[Scored]:
    """Photographed digits of real meters and a small convolutional network; no near-copy crosses the roles."""
    images = [image for image in meter_digits(folder) if not image.new]
    looks = np.array([image.look for image in images])
    chance = np.random.default_rng([seed, 1])
    names = chance.permutation(np.unique(looks))
    first, second = int(0.5 * len(names)), int(0.72 * len(names))
    roles = [np.flatnonzero(np.isin(looks, part)) for part in (names[:first], names[first:second], names[second:])]
    train, select, test = (chance.permutation(part)[:most] for part, most in zip(roles, (2400, 800, 800), strict=True))
    labels = np.array([int(image.label) for image in images], dtype=np.int64)
    wanted = np.concatenate([train, select, test])
    pictures = np.zeros((len(images), _SIDE, _SIDE))
    for place in wanted:
        with Image.open(images[place].path) as image:
            pictures[place] = np.asarray(image.convert("L").resize((_SIDE, _SIDE)), dtype=np.float64) / 255
    network = _trained(pictures[train], labels[train], seed)

    def outputs(batch: Pictures) -> tuple[Floats, Floats]:
        with torch.inference_mode():
            logits, features = network(_tensor(batch))
        return logits.double().numpy(), features.double().numpy()

    yield from _under_every_corruption(outputs, pictures, labels, select, test, seed)


def _under_every_corruption(outputs, pictures, labels, select, test, seed) -> Iterator[Scored]:
    logits, embedding = outputs(pictures[select])
    temperature = _temperature(logits, labels[select])
    yield Scored("", 0, _softmax(logits / temperature), embedding, labels[select], pictures[select])
    for number, name in enumerate(("", *CORRUPTIONS)):
        for severity in SEVERITIES if name else (0,):
            chance = np.random.default_rng([seed, 2, number, severity])
            images = corrupted(pictures[test], name, severity, chance) if name else pictures[test]
            logits, embedding = outputs(images)
            yield Scored(name, severity, _softmax(logits / temperature), embedding, labels[test], images)


def _trained(pictures: Pictures, labels: Whole, seed: int) -> _SmallNet:
    torch.manual_seed(seed)
    network = _SmallNet()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    epochs, size = 12, 64
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, epochs * (len(labels) // size))
    images, truth = _tensor(pictures), torch.from_numpy(labels)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels))[: len(labels) // size * size].split(size):
            # Lit a little differently and a little noisy, as any training would have it.
            lit = images[rows] * torch.empty(size, 1, 1, 1).uniform_(0.85, 1.15) + 0.3 * torch.randn(size, 1, 1, 1)
            loss = nn.functional.cross_entropy(network(lit + 0.15 * torch.randn_like(lit))[0], truth[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    return network.eval()


def _tensor(pictures: Pictures) -> torch.Tensor:
    return torch.from_numpy((pictures[:, None] - 0.5) / 0.25).float()


def _temperature(logits: Floats, truth: Whole) -> float:
    """The temperature with the least cross-entropy, as the export fits it on select."""

    def loss(temperature: float) -> float:
        return float(-np.log(_softmax(logits / temperature)[np.arange(len(truth)), truth] + 1e-12).mean())

    return float(minimize_scalar(loss, bounds=(0.2, 10), method="bounded").x)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
