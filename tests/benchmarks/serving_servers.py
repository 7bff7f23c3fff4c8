"""Every server that is measured: how it is started, and how it is asked."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from infra.database import open_database
from infra.objects import open_objects
from infra.settings import Settings, load
from models.registry import Registry
from service import commands
from service.segments import OPEN, PREDICTION, SEALED, frames_of, segments
from service.slots import slots
from service.worker import spool_folder
from tests.benchmarks.serving_rivals import MODEL, WORKERS

OURS, UNLOGGED = "ours", "ours unlogged"
SHELL, SHELL_UNLOGGED = "ours under BentoML", "ours under BentoML unlogged"
REFERENCE, BATCHABLE, LITSERVE = "reference", "batchable", "LitServe"
NAMES = (OURS, UNLOGGED, SHELL, SHELL_UNLOGGED, REFERENCE, BATCHABLE, LITSERVE)

_ROOT = Path(__file__).parents[2]
_LOGGED, _UNLOGGED = "service.server", "tests.benchmarks.serving_unlogged"
_LITSERVE_NEEDS = ("onnxruntime", "numpy", "pillow", "starlette", "uvicorn", "uvloop", "httptools", "python-multipart")


@dataclass(frozen=True)
class Start:
    """
    A server about to be started.

    Attributes:
        path: where images are posted.
        field: of the form that carries one; empty = the body is the image.
        answered: by spool, how many answers it kept; empty where it keeps none.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    path: str
    field: str
    answered: Callable[[], Mapping[str, int]] = dict


class Servers:
    """Makes starts; every server has one job, and ours a project of its own."""

    def __init__(self, job: Path, work: Path, litserve: Path | None) -> None:
        self._job, self._project, self._litserve = job, work / "project", litserve
        shutil.rmtree(self._project, ignore_errors=True)
        self._project.mkdir(parents=True)
        storage = self._settings(1, 1).storage
        registry = Registry(open_database(storage.database), open_objects(storage), "bench")
        version = registry.register(job / "model", reason="benchmark", parent_version=None).version
        registry.champions.promote(version, actor="benchmark", reason="benchmark")
        registry.engine.dispose()

    def start(self, name: str, port: int, workers: int) -> Start:
        """How a server is started on a port, with so many workers."""
        argv: tuple[str, ...]
        match name:
            case "ours" | "ours unlogged":
                return self._ours("uvicorn", port, workers, logged=name == OURS)
            case "ours under BentoML" | "ours under BentoML unlogged":
                return self._ours("bentoml", port, workers, logged=name == SHELL)
            case "reference":
                target = ("tests.benchmarks.serving_reference:app", "--no-access-log", "--lifespan", "on")
                address = ("--host", "127.0.0.1", "--port", str(port), "--workers", str(workers))
                argv = (sys.executable, "-m", "uvicorn", *target, *address)
                return Start(argv, self._env(port, workers), "/predict", "")
            case "batchable":
                target = ("tests.benchmarks.serving_batchable:Batchable", "--working-dir", str(_ROOT))
                argv = (sys.executable, "-m", "bentoml", "serve", *target, "--host", "127.0.0.1", "--port", str(port))
                return Start(argv, self._env(port, workers), "/predict", "images")
            case "LitServe":
                argv = (str(self._litserve), "-m", "tests.benchmarks.serving_litserve", str(port))
                return Start(argv, self._env(port, workers), "/predict", "request")
        raise ValueError(f"there is no server '{name}'; there are {', '.join(NAMES)}")

    def _ours(self, runtime: Literal["uvicorn", "bentoml"], port: int, workers: int, *, logged: bool) -> Start:
        settings = self._settings(port, workers)
        shutil.rmtree(spool_folder(settings), ignore_errors=True)
        child = commands.serve(settings, runtime=runtime)
        argv = child.argv if logged else tuple(_UNLOGGED if word == _LOGGED else word for word in child.argv)
        assert (argv == child.argv) == logged, f"the service starts differently and cannot be made to forget: {argv}"
        return Start(argv, child.env, "/v1/predict", "", lambda: _answered(spool_folder(settings)))

    def _settings(self, port: int, workers: int) -> Settings:
        serve = f"[serve]\nport = {port}\nworkers = {workers}\ndrain_s = 0\n"
        (self._project / "kedge.toml").write_text(f'[project]\nname = "bench"\n{serve}')
        return load(self._project, {})

    def _env(self, port: int, workers: int) -> dict[str, str]:
        env = commands.environment(self._settings(port, workers))
        return {**env, MODEL: str(self._job / "model"), WORKERS: str(workers)}


def _answered(spool: Path) -> Mapping[str, int]:
    """Predictions on record, by the spool's slot: each worker has one."""
    found: Counter[str] = Counter()
    for slot in slots(spool):
        for path in (*segments(slot, SEALED), *segments(slot, OPEN)):
            # A segment may be sealed, and so renamed, in this moment.
            there = path if path.exists() else path.with_suffix(SEALED)
            found[slot.name] += sum(frame.kind == PREDICTION for frame in frames_of(there))
    return found


def litserve_python(work: Path) -> Path | None:
    """
    An environment with LitServe and, as far as it takes them, our versions of what it shares with us; made once.

    Returns:
        Its interpreter; None where it cannot be installed.
    """
    folder = work / "litserve"
    python = folder / "bin" / "python"
    if (folder / "installed").is_file():
        return python
    try:
        install = (str(python), "-m", "pip", "install", "--disable-pip-version-check", "litserve")
        for command in (
            (sys.executable, "-m", "venv", "--clear", str(folder)),
            (*install, *_pins(_LITSERVE_NEEDS)),
            (str(python), "-c", "import litserve"),
        ):
            subprocess.run(command, check=True, capture_output=True, text=True)
    except (subprocess.CalledProcessError, OSError) as problem:
        words = getattr(problem, "stderr", None) or ""
        print(f"LitServe cannot be installed and is left out: {problem}\n{words[-1000:]}", file=sys.stderr)
        return None
    (folder / "installed").touch()
    return python


def version_in(python: Path, library: str) -> str:
    """Of a library in another environment."""
    code = f"from importlib import metadata; print(metadata.version('{library}'))"
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _pins(libraries: Iterable[str]) -> list[str]:
    return [f"{library}=={metadata.version(library)}" for library in libraries]
