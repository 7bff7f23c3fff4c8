"""A project whose model tells dark, light and red cards apart: real artifacts, a real database, real processes."""

import contextlib
import io
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from infra.database import open_database
from infra.objects import open_objects
from infra.settings import Settings, load
from infra.workers import live_workers
from models.prediction import Label, Prediction
from models.registry import Registry
from service import commands
from service.records import decode_label, decode_prediction
from service.segments import LABEL, OPEN, PREDICTION, SEALED, frames_of
from tests.hand_made import keep_artifact

CLASSES = ("dark", "light", "red")
SIZE = 16


def picture(colour: tuple[int, int, int] = (250, 250, 250), size: int = 40, kind: str = "JPEG") -> bytes:
    """A plain card of one colour, as a file."""
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(buffer, kind)
    return buffer.getvalue()


def write_candidate(folder: Path, *, sharpness: float = 8.0, ballast_mb: int = 0) -> Path:
    """
    A real, tiny network as a candidate folder: a card is dark, light or red by its mean colour.

    logits = means of the three channels (each -1..1) times a matrix; the embedding is those three means. Ballast is
    a detour by a wide layer that adds nothing but its size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    matrix = np.array([[-1, 1, 1], [-1, 1, -1], [-1, 1, -1]], dtype=np.float32) * sharpness
    width = ballast_mb * 1_000_000 // 24  # three floats in and three out for each hidden unit
    noise = np.random.default_rng(0).normal(0, 1e-9, (3, width)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["embedding"], axis=1),
            helper.make_node("MatMul", ["embedding", "matrix"], ["straight"]),
            helper.make_node("MatMul", ["embedding", "widen"], ["wide"]),
            helper.make_node("MatMul", ["wide", "narrow"], ["detour"]),
            helper.make_node("Add", ["straight", "detour"], ["logits"]),
        ],
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3]),
        ],
        [
            numpy_helper.from_array(matrix, "matrix"),
            numpy_helper.from_array(noise, "widen"),
            numpy_helper.from_array(noise.T.copy(), "narrow"),
        ],
    )
    return keep_artifact(folder, graph, sharpness.hex(), CLASSES, SIZE)


@dataclass
class Place:
    """A project with a registry; processes that were started for it end with the test."""

    settings: Settings
    base: Path
    running: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @cached_property
    def registry(self) -> Registry:
        storage = self.settings.storage
        return Registry(open_database(storage.database), open_objects(storage), self.settings.project.name)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.serve.port}"

    @property
    def spool(self) -> Path:
        return self.settings.storage.home / "spool"

    def version(self, **options: Any) -> int:
        """Register one more version."""
        count = len(self.registry.versions())
        folder = write_candidate(self.base / f"candidate-{count}", **options)
        return self.registry.register(folder, reason="test", parent_version=None).version

    def champion(self, **options: Any) -> int:
        """Register and promote one more version."""
        version = self.version(**options)
        self.registry.champions.promote(version, actor="test", reason="test")
        return version

    def start(self, child: commands.Child) -> "subprocess.Popen[bytes]":
        log = (self.base / f"{child.name}.out").open("ab")
        process = subprocess.Popen(
            child.argv, env=dict(child.env), cwd=child.folder, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        self.running.append(process)
        return process

    def serve(self, runtime: Any = "bentoml", *, ready: bool = True, listed: bool = True) -> "subprocess.Popen[bytes]":
        """Start the service; wait until it lives, is `ready`, or (`listed`) every worker says that it has a model."""
        process = self.start(commands.serve(self.settings, runtime=runtime))
        wait_for(lambda: answers(f"{self.url}/{'readyz' if ready else 'livez'}"), self.output, 60)
        if ready and listed:
            # The address answers as soon as one worker does; the next request may meet another.
            wait_for(lambda: self._with_a_model() == self.settings.serve.workers, self.output, 60)
        return process

    def _with_a_model(self) -> int:
        workers = live_workers(self.registry.engine, self.settings.project.name)
        return sum(worker.version is not None for worker in workers)

    def output(self) -> str:
        return "\n".join(path.read_text()[-4000:] for path in self.base.glob("*.out"))

    def spooled(self) -> tuple[list[Prediction], list[Label]]:
        """What lies in the spool, in whatever state."""
        paths = [*self.spool.glob(f"*/*{SEALED}"), *self.spool.glob(f"*/*{OPEN}")]
        frames = [frame for path in paths for frame in frames_of(path)]
        predictions = [decode_prediction(frame.payload) for frame in frames if frame.kind == PREDICTION]
        return predictions, [decode_label(frame.payload) for frame in frames if frame.kind == LABEL]


def new_place(folder: Path) -> Place:
    """An empty project on a free port, with settings for impatient tests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = folder / "project"
    root.mkdir()
    serve = "workers = 2\npoll_ms = 50\nseal_s = 0.5\nmost_body_mb = 2.0\nleast_free_disk_mb = 1.0\n"
    (root / "kedge.toml").write_text(f'[project]\nname = "cards"\n[serve]\nport = {port}\n{serve}')
    return Place(load(root, {}), folder)


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=5).status_code == 200
    return False


def wait_for(condition: Callable[[], Any], explain: Callable[[], str] = str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it never happened\n{explain()}"
        time.sleep(0.05)


def workers_of(supervisor: int) -> list[int]:
    """The serving processes below a supervisor."""
    found = subprocess.run(["ps", "-ewwo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in found.splitlines()]
    # A worker of our own server, or of `bentoml serve`.
    return [
        int(pid)
        for pid, parent, argv in rows
        if int(parent) == supervisor and ("spawn_main" in argv or "worker.service" in argv)
    ]
