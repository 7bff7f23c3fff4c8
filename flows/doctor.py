"""`kedge doctor`: is everything here that Kedge needs? One record a question, each with what to do about it."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import httpx

from flows import prefect_environment, timetable, up_file
from flows.children import Listener
from flows.readiness import free
from infra.clock import new_id
from infra.database import open_database, reading
from infra.errors import UserError
from infra.objects import open_objects
from infra.settings import Settings, load
from monitoring.policies.rules import rules_of, silent_policies

_LEAST_PYTHON = (3, 11)
_ROOMY_MB = 5_000
_PROBE_S = 120
# Below the first version that is known to break; the story of each is in infra/DECISIONS.md.
_BELOW = {
    "fastapi": ((0, 151), "Prefect 3.8's server does not start with later ones"),
    "sqlalchemy": ((2, 1), "Prefect 3.8's schedules silently never fire with 2.1"),
    "pandas": ((3, 1), "Evidently cannot be imported with 3.1"),
}
_NEEDED = ("bentoml", "deltalake", "evidently", "kantoku", "onnxruntime", "polars", "prefect", "timm", "torch")
# In a process of its own: a broken pair dies on import, and torch is slow and large.
_TORCH_PROBE = (
    "import json, torch, torchvision; c = torch.cuda.is_available(); "
    "print(json.dumps([torch.__version__, torchvision.__version__, torch.cuda.get_device_name(0) if c else '']))"
)


@dataclass(frozen=True)
class Check:
    """One answer: `state` is ok | warn | fail; `remedy` is what to do, "" when nothing is."""

    name: str
    state: str
    words: str
    remedy: str = ""


def examine(root: Path | None = None) -> tuple[Check, ...]:
    """Ask every question about the project in `root` (the current folder), cheap ones first."""
    return tuple(_answers(root))


def _answers(root: Path | None) -> Iterator[Check]:
    yield from _python()
    yield from _packages()
    try:
        settings = load(root)
    except UserError as error:
        yield Check("settings", "fail", str(error), "Correct kedge.toml; the other checks need it.")
        return
    questions: tuple[tuple[str, Callable[[Settings], Iterator[Check]]], ...] = (
        ("settings", _settings),
        ("disk", _disk),
        ("ports", _ports),
        ("database", _database),
        ("objects", _objects),
        ("prefect", _prefect),
        ("manifest", _manifest),
        ("champion", _champion),
        ("torch", _torch),
    )
    for name, ask in questions:
        try:
            yield from ask(settings)
        except UserError as error:
            # Its message says what to do.
            yield Check(name, "fail", str(error))
        except Exception as error:  # noqa: BLE001 - one broken check must not hide the others
            yield Check(name, "fail", f"{type(error).__name__}: {error}", "The check itself failed; see its message.")


def _python() -> Iterator[Check]:
    good = sys.version_info >= _LEAST_PYTHON
    remedy = "" if good else "Install Python 3.11 or later and make the environment anew."
    yield Check("python", "ok" if good else "fail", f"{platform.python_version()} at {sys.executable}", remedy)


def _packages() -> Iterator[Check]:
    missing = [name for name in _NEEDED if not _version(name)]
    wrong = [
        f"{name} {found} ({why})"
        for name, (limit, why) in _BELOW.items()
        if (found := _version(name)) and _numbers(found) >= limit
    ]
    # kantoku is circus under another name: both write the same folder, and the one installed last wins.
    if _version("circus"):
        wrong.append("circus (it overwrites kantoku, which BentoML needs)")
    if wrong:
        yield Check("packages", "fail", "; ".join(wrong), "Install the versions of requirements.lock again.")
    if missing:
        remedy = "Install them with `pip install 'kedge[serve,train,flows,monitor]'`."
        yield Check("packages", "warn", f"not installed here: {', '.join(missing)}", remedy)
    if not wrong and not missing:
        yield Check("packages", "ok", ", ".join(f"{name} {_version(name)}" for name in (*_NEEDED, *_BELOW)))


def _settings(settings: Settings) -> Iterator[Check]:
    timetable.check(settings)
    file = settings.root / "kedge.toml"
    if file.exists():
        yield Check("settings", "ok", str(file))
    else:
        yield Check("settings", "warn", f"no {file}: every setting has its default", "Write one with `kedge init`.")
    for words in silent_policies(rules_of(settings)):
        yield Check("settings", "warn", words, "Set it, or leave the policy out of trigger.when.")


def _disk(settings: Settings) -> Iterator[Check]:
    home = settings.storage.home
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free_mb = shutil.disk_usage(place).free / 1e6
    words = f"{free_mb / 1000:.1f} GB free at {place}"
    if not os.access(place, os.W_OK):
        yield Check("disk", "fail", f"{place} cannot be written", "Change its owner, or set storage.home.")
    elif free_mb < settings.serve.least_free_disk_mb:
        yield Check("disk", "fail", words, "Free some space: predictions are no longer logged.")
    elif free_mb < _ROOMY_MB:
        yield Check("disk", "warn", words, "Kept images and artifacts grow; make room.")
    else:
        yield Check("disk", "ok", words)


def _ports(settings: Settings) -> Iterator[Check]:
    state = up_file.running(settings.storage.home)
    if state is not None:
        yield Check("ports", "ok", f"`kedge up` runs here (process {state.pid}) and has them")
        return
    wanted = [
        Listener(settings.serve.host, settings.serve.port, "serve.port"),
        Listener(settings.console.host, settings.console.port, "console.port"),
    ]
    if not settings.prefect.api_url:
        wanted.append(Listener("127.0.0.1", settings.prefect.port, "prefect.port"))
    for listener in wanted:
        words = f"{listener.setting} {listener.port}"
        if free(listener):
            yield Check("ports", "ok", f"{words} is free")
        else:
            remedy = f"Stop who uses it, or set {listener.setting} in kedge.toml."
            yield Check("ports", "fail", f"{words} is in use", remedy)


def _database(settings: Settings) -> Iterator[Check]:
    engine = open_database(settings.storage.database)
    try:
        with reading(engine):
            shown = engine.url.render_as_string(hide_password=True)
    finally:
        engine.dispose()
    yield Check("database", "ok", f"{shown}, schema up to date")


def _objects(settings: Settings) -> Iterator[Check]:
    objects = open_objects(settings.storage)
    key, data = f"probe/{new_id()}", b"kedge doctor"
    try:
        objects.put(key, data)
        same = objects.get(key) == data
        objects.delete(key)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - every store has errors of its own
        words = f"{objects.describe()}: {error}"
        remedy = "Check storage.objects, storage.s3_endpoint and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY."
        yield Check("objects", "fail", words, remedy)
        return
    if same:
        yield Check("objects", "ok", f"{objects.describe()}: written, read, deleted")
    else:
        remedy = "Do not use this store: what is read is not what was written."
        yield Check("objects", "fail", f"{objects.describe()} gave back other bytes", remedy)


def _prefect(settings: Settings) -> Iterator[Check]:
    url = prefect_environment.api_url(settings)
    own = not settings.prefect.api_url
    try:
        httpx.get(f"{url}/health", timeout=5, trust_env=not own).raise_for_status()
        yield Check("prefect", "ok", f"{url} answers")
    except httpx.HTTPError as error:
        if not own:
            remedy = "Start that server, or set prefect.api_url to the right address (it ends in /api)."
            yield Check("prefect", "fail", f"{url}: {error}", remedy)
        elif up_file.running(settings.storage.home) is not None:
            log = settings.storage.home / "logs" / "prefect.log"
            yield Check("prefect", "fail", f"{url}: {error}", f"See {log}; `kedge up` starts it again by itself.")
        else:
            yield Check("prefect", "ok", "`kedge up` starts its own server")


def _manifest(settings: Settings) -> Iterator[Check]:
    manifest = settings.data.manifest
    if manifest.exists():
        yield Check("manifest", "ok", str(manifest))
    else:
        remedy = "Write it (columns image,label), or set data.manifest; then check it with `kedge data`."
        yield Check("manifest", "warn", f"no {manifest}", remedy)


def _champion(settings: Settings) -> Iterator[Check]:
    from models.registry import Registry

    engine = open_database(settings.storage.database)
    try:
        champion = Registry(engine, open_objects(settings.storage), settings.project.name).champion()
    finally:
        engine.dispose()
    if champion is None:
        yield Check("champion", "warn", f"{settings.project.name} has none yet", "Make the first with `kedge train`.")
    else:
        yield Check("champion", "ok", f"{settings.project.name} version {champion.version}")


def _torch(settings: Settings) -> Iterator[Check]:
    if not _version("torch"):
        yield Check("torch", "warn", "not installed: nothing can be trained here", "pip install 'kedge[train]'")
        return
    command = [sys.executable, "-c", _TORCH_PROBE]
    probe = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_S, check=False, cwd=Path.home())
    if probe.returncode != 0:
        last = (probe.stderr.strip().splitlines() or ["no message"])[-1]
        remedy = "Install torch and torchvision of one build (both +cpu or both +cu…), as requirements.lock has them."
        yield Check("torch", "fail", last, remedy)
        return
    torch, torchvision, gpu = json.loads(probe.stdout.splitlines()[-1])
    yield Check("torch", "ok", f"torch {torch} with torchvision {torchvision}")
    if gpu:
        yield Check("gpu", "ok", gpu)
    elif settings.train.device == "cuda":
        yield Check("gpu", "fail", "train.device is cuda, but torch sees no GPU", 'Set train.device = "auto".')
    else:
        yield Check("gpu", "ok", "none: training runs on the CPU")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("+")[0].split(".")[:2] if part.isdigit())
