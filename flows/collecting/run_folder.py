"""A run directory that needs nothing else: the images that train and select, and their list."""

import hashlib
from pathlib import Path

from flows.collecting.images import read_image
from flows.collecting.snapshot import Snapshot
from flows.workplace import Workplace
from models.training.run_folder import RunExample, write_examples


def write_run_dir(place: Workplace, snapshot: Snapshot, run_dir: Path) -> None:
    """Copy the training and selection images into `run_dir/images` and list them in `run_dir/examples.csv`."""
    (run_dir / "images").mkdir(parents=True, exist_ok=True)
    listed = []
    for role, examples in (("train", snapshot.train), ("select", snapshot.select)):
        for example in examples:
            data = read_image(place, example)
            # Content-addressed: the same image from two places is one file, and names cannot clash.
            name = f"images/{hashlib.sha256(data).hexdigest()}"
            # Not synced one by one: a run directory counts only once its snapshot.json is there.
            (run_dir / name).write_bytes(data)
            listed.append(RunExample(name, example.label, role, 1.0, example.group, example.source))
    write_examples(run_dir, listed)
