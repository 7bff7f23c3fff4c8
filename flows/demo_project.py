"""The demo's project: its folder, its data and its settings."""

import contextlib
import json
import shutil
import socket
from pathlib import Path

from flows.demo_world import World, write_project_data
from flows.workplace import Workplace, open_workplace
from infra.errors import UserError
from infra.files import write_atomically

_MARK = "demo.json"
# Drift is watched with the default settings; what is set here is the data, and how fast things happen.
_TOML = """\
# The demo's project. Everything that is not here is at its default.
[project]
name = "digits"

[data]
manifest = "data/manifest.csv"
subgroups = ["camera"]
source = "camera"
group = "original"     # copies of one scan share one role: train, select or judge

[model]
backbone = "test_resnet"
weights = "none"
image_size = 32
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]

[train]
seed = {seed}
threads = 1
most_epochs_per_stage = 10
patience_epochs = 6

[serve]
port = {service}
seal_s = 2             # the demo has no minute to wait

[monitor]
every_s = 8
silent_after_s = 120
evidently_port = {evidently}
feedback_is_random = true   # true here: the demo draws the labelled predictions at random

[trigger]
cooldown_minutes = 10

[rollout]
shadow_predictions = 100
canary_predictions = 100
canary_share = 0.5          # half of the callers, for a minute
probation_minutes = 0.5     # the demo has no day to wait

[gate]
min_precision = 0.8
min_recall = 0.8

[prefect]
port = {prefect}

[console]
port = {console}
"""


def prepare(folder: Path, world: World, seed: int) -> Workplace:
    """
    Make the project anew and open it.

    Raises:
        UserError: the folder holds something that is no earlier demo's, which is not touched.
    """
    if folder.exists():
        if not (folder / _MARK).exists() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty and not an earlier demo's: choose another with --folder.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    write_atomically(folder / _MARK, json.dumps({"seed": seed}))
    write_project_data(world, folder / "data", seed)
    service, console, prefect, evidently = _free_ports((3000, 3001, 4200, 8008))
    write_atomically(
        folder / "kedge.toml",
        _TOML.format(seed=seed, service=service, console=console, prefect=prefect, evidently=evidently),
    )
    return open_workplace(folder)


def _free_ports(wanted: tuple[int, ...]) -> list[int]:
    """The usual ports where they are free, others where they are not; all different."""
    chosen: list[int] = []
    for port in wanted:
        for candidate in (port, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with contextlib.suppress(OSError):
                    probe.bind(("127.0.0.1", candidate))
                    chosen.append(probe.getsockname()[1])
                    break
    return chosen
