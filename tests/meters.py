"""The meter digits as a project: its settings, and which pictures belong together."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.sparse.csgraph import connected_components

WHOLE = {"", "0", "1", "2"}  # how far the digit has rolled on: these are whole ones

# Ends within [train], where each run says how many threads and minutes it has.
PROJECT = """
[project]
name = "meters"
[data]
manifest = "manifest.csv"
subgroups = ["medium"]
source = "device"
group = "session"
[model]
backbone = "mobilenetv2_100"
options = {{ pad_type = "same" }}
weights = "{weights}"
licence = "apache-2.0"
image_size = 64
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
[train]
learning_rate = 0.008
most_epochs_per_stage = 6
patience_epochs = 6
"""


def place(text: str) -> float:
    """A number from 0 to 1 that is the same for the same text for ever."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


def split_of(session: str) -> str:
    """Given, not left to the project's secret key: with few sessions a class, some keys leave a role without images."""
    drawn = place(f"split of {session}")
    return "train" if drawn < 0.70 else "select" if drawn < 0.85 else "judge"


def looks(images: Sequence[Path]) -> list[int]:
    """One number for all images that are nearly the same, also by way of others: correlation above 0.95."""
    small = [np.asarray(Image.open(image).convert("L").resize((16, 24)), dtype=float).ravel() for image in images]
    centred = np.array([(one - one.mean()) / (one.std() + 1e-6) for one in small])
    alike = centred @ centred.T / centred.shape[1] > 0.95
    return [int(look) for look in connected_components(alike)[1]]
