"""The house rules: which way imports run, and the one address of every library. Sources are read, not imported."""

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from infra.database import open_database
from infra.objects import open_objects
from infra.settings import load
from models.registry import Registry

ROOT = Path(__file__).parent.parent

# What each package may import of ours, besides itself. The order: infra < models < monitoring < (flows, service).
BELOW = {
    "infra": set(),
    "models": {"infra"},
    "monitoring": {"infra", "models"},
    "flows": {"infra", "models", "monitoring"},
    "service": {"infra", "models", "monitoring"},
}

# The `kedge` command is put together in one file, which reaches over the fence, and only while a command runs.
COMPOSITION_ROOT, ITS_LIBERTIES = "flows/cli.py", ("service.commands", "service.client")

# Beyond infra, the modules that hold a table's queries …
HOLD_QUERIES = (
    "models/champions.py",
    "models/judged_again.py",
    "models/registry.py",
    "models/rollout_runs.py",
    "models/rollouts.py",
    "monitoring/subgroups/rows.py",
    "monitoring/watching/accept.py",
    "monitoring/blocks/rows.py",
    "monitoring/console/",
    "monitoring/decisions/rows.py",
    "monitoring/forgetting/normals.py",
    "monitoring/forgetting/pages.py",
    "monitoring/history.py",
    "monitoring/incoming/lost_pictures.py",
    "monitoring/labelling/keeping.py",
    "monitoring/labelling/rows.py",
    "monitoring/policies/asking.py",
    "monitoring/policies/rows.py",
    "monitoring/reference/profile.py",
    "monitoring/watching/silence.py",
    "monitoring/watching/rows.py",
    "monitoring/watching/state.py",
    "monitoring/window_report.py",
    "monitoring/windows.py",
    "service/pointers.py",
    "service/sign_in.py",
    "flows/demo_report.py",
    "flows/demo_story.py",
    "flows/readiness.py",
    "flows/status.py",
)
# … and those that only hand an engine on, or catch what it raises.
HAND_THE_ENGINE_ON = (
    "monitoring/metrics.py",
    "monitoring/evidently_page.py",
    "monitoring/watching/place.py",
    "service/live_model.py",
    "service/resident.py",
    "service/known_tokens.py",
    "service/retraining.py",
    "service/shipper.py",
    "flows/jobs/attempts.py",
    "flows/jobs/releasing.py",
    "flows/serving_place.py",
    "flows/supervisor.py",
    "flows/workplace.py",
)
WITHOUT_QUERIES = {"Engine", "Connection", "exc"}

# Library → where it may be imported: a folder ends in a slash.
ADDRESSES = {
    "torch": ("models/",),
    "torchvision": ("models/",),
    "timm": ("models/",),
    "matplotlib": ("models/",),
    "cleanlab": ("models/label_errors.py",),
    "sklearn": ("models/label_errors.py", "monitoring/slices.py", "flows/demo_world.py"),
    "onnx": ("models/",),
    "onnxruntime": ("models/runtime.py",),
    "bentoml": ("service/app.py",),
    "prefect": ("flows/",),
    "boto3": ("infra/bucket.py",),
    "botocore": ("infra/bucket.py",),
    "alembic": ("infra/database.py", "infra/migrations/"),
    "deltalake": ("infra/tables.py",),
    "polars": ("infra/tables.py", "monitoring/"),
    "sqlalchemy": ("infra/", *HOLD_QUERIES, *HAND_THE_ENGINE_ON),
    "evidently": (
        "monitoring/evidently_pages/report.py",
        "monitoring/evidently_pages/ui.py",
        "monitoring/evidently_pages/widgets.py",
        "monitoring/evidently_pages/workspace.py",
    ),
    "pandas": ("monitoring/evidently_pages/report.py",),
    "plotly": ("monitoring/console/",),
    "opentelemetry": ("service/tracing.py",),
    "cronsim": ("monitoring/policies/moments.py",),
    "river": ("monitoring/quality/adwin.py",),
    "prometheus_client": ("monitoring/metrics.py", "service/metrics.py"),
    "rich": ("flows/",),
    "typer": ("flows/",),
}

VAGUE = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"}
TRAINING_MAY_IMPORT = {"torch", "torchvision", "timm", "numpy", "PIL", "safetensors", *sys.stdlib_module_names}
TRAINING_MAY_IMPORT_OF_INFRA = {"infra.errors", "infra.files", "infra.clock"}
# Everything else waits until a command needs it, so that `kedge --help` answers at once.
LIGHT = {"typer", "rich", *sys.stdlib_module_names}
# What must not burden a serving process: it starts in seconds and stays small.
NEVER_SERVED = ("torch", "prefect", "evidently", "pandas", "sklearn", "cleanlab", "polars", "pyarrow", "deltalake")

# The way back from a bad model is to take less than a second, and libraries are nearly all of what it takes.
NEVER_FOR_A_WAY_BACK = (
    *NEVER_SERVED, "numpy", "scipy", "PIL", "onnxruntime", "boto3", "alembic", "httpx", "asyncpg", "river",
)  # fmt: skip
# The commands that people give to see how things stand, and what these have no use for.
GLANCES = (("status",), ("jobs",), ("models",), ("rollout",), ("ledger", "show"))
NEVER_FOR_A_GLANCE = ("torch", "prefect", "evidently", "pandas", "sklearn", "scipy", "boto3", "alembic", "river")


@dataclass(frozen=True)
class Import:
    """One imported module, by its full name; `lazy` where it stands in a function."""

    file: str
    line: int
    module: str
    lazy: bool

    @property
    def library(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


@pytest.mark.parametrize("package", BELOW)
def test_imports_only_go_down(package):
    foreign = [each for each in imports_of(package) if each.library in BELOW.keys() - {package}]

    broken = [each for each in foreign if each.library not in BELOW[package] and not is_liberty(each)]

    allowed = ", ".join(sorted(BELOW[package])) or "nothing of ours"
    assert not broken, listed(broken, f"{package}/ may import {allowed}")


@pytest.mark.parametrize("library", ADDRESSES)
def test_a_library_has_one_address(library):
    users = [each for package in BELOW for each in imports_of(package) if each.library == library]

    strays = [each for each in users if not lives_at(each.file, ADDRESSES[library])]

    assert not strays, listed(strays, f"{library} belongs in {', '.join(ADDRESSES[library])}")


def test_every_address_is_lived_at():
    # A rule about a file that was renamed would hold for ever and keep nothing.
    named = {(file, library) for library, places in ADDRESSES.items() for file in places if file.endswith(".py")}
    lived = {(each.file, each.library) for package in BELOW for each in imports_of(package)}

    empty = [f"{library}: {file}" for file, library in sorted(named - lived)]

    assert not empty, f"strike out these addresses, for the library is not imported there any more: {empty}"


@pytest.mark.parametrize("file", HAND_THE_ENGINE_ON)
def test_who_only_hands_the_engine_on_asks_it_nothing(file):
    nodes = ast.walk(ast.parse((ROOT / file).read_text()))

    used = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            and node.value.id == "sa"}  # fmt: skip

    questions = ", ".join(f"sa.{name}" for name in sorted(used - WITHOUT_QUERIES))
    assert not questions, f"{file} uses {questions}: a table's queries belong in a module listed in HOLD_QUERIES"


def test_a_package_file_holds_one_docstring_and_nothing_else():
    files = [path for package in BELOW for path in sources(package) if path.name == "__init__.py"]

    fuller = [str(path.relative_to(ROOT)) for path in files if not is_one_docstring(path)]

    assert len(files) >= len(BELOW), "every package has an __init__.py"
    assert not fuller, f"{fuller}: an __init__.py holds the folder's sentence and nothing else"


def test_no_file_has_a_name_that_says_nothing():
    vague = [str(path.relative_to(ROOT)) for package in (*BELOW, "tests") for path in sources(package)
             if VAGUE & set(path.stem.split("_"))]  # fmt: skip

    assert not vague, f"{vague}: a file is called by what it holds, never {', '.join(sorted(VAGUE))}"


def test_training_needs_torch_and_its_kin_and_nothing_else():
    start = [each for each in modules() if each == "models.training" or each.startswith("models.training.")]

    broken = [each for module in closure(start) for each in imports_in(modules()[module])
              if not training_may_import(each)]  # fmt: skip

    rule = f"a training job may import {', '.join(sorted(TRAINING_MAY_IMPORT_OF_INFRA))}, models and torch's kin"
    assert len(start) > 1
    assert not broken, listed(broken, rule)


def test_the_command_imports_nothing_heavy_before_it_is_told_what_to_do():
    reached = closure(["flows.cli"], lazily=False)

    eager = [each for module in reached for each in imports_in(modules()[module]) if not each.lazy]
    heavy = [each for each in eager if each.library not in LIGHT and each.library not in BELOW]

    assert not heavy, listed(heavy, f"{COMPOSITION_ROOT} imports inside its commands, so that --help is quick")


@pytest.mark.slow
def test_the_service_starts_without_what_it_never_needs(tmp_path):
    script = (
        "import json, sys, service.app; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )

    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {script}"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert child.returncode == 0, child.stderr
    loaded = set(json.loads(child.stdout.splitlines()[-1])) & set(NEVER_SERVED)
    assert not loaded, f"`import service.app` brings in {', '.join(sorted(loaded))}; the service has no use for them"


@pytest.mark.slow
def test_a_way_back_waits_for_no_library_that_it_does_not_need(tmp_path):
    registry = two_champions(tmp_path)

    loaded = loaded_by(("rollback",), tmp_path)

    assert registry.champions.current() == 1
    assert not loaded & set(NEVER_FOR_A_WAY_BACK)


@pytest.mark.slow
@pytest.mark.parametrize("command", GLANCES, ids=" ".join)
def test_a_glance_waits_for_no_library_that_it_does_not_need(command, tmp_path):
    two_champions(tmp_path)

    loaded = loaded_by(command, tmp_path)

    assert not loaded & set(NEVER_FOR_A_GLANCE)


def two_champions(folder: Path) -> Registry:
    """A project whose second version is champion; nobody will ask what the versions answer."""
    candidate = folder / "candidate"
    candidate.mkdir()
    for name in ("model.onnx", "model.safetensors", "artifact.json"):
        (candidate / name).write_text(name)
    storage = load(folder, {}).storage
    registry = Registry(open_database(storage.database), open_objects(storage), "classifier")
    for _ in range(2):
        made = registry.register(candidate, reason="test", parent_version=None)
        registry.champions.promote(made.version, actor="test", reason="test")
    return registry


def loaded_by(command: tuple[str, ...], folder: Path) -> set[str]:
    """The libraries in memory when a command has done what it is for."""
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\nfrom flows.cli import app\napp(standalone_mode=False)\n"
        "print('\\n' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    )
    child = subprocess.run(
        [sys.executable, "-c", script, str(ROOT), *command],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    return set(child.stdout.splitlines()[-1].split())


def imports_of(package: str) -> list[Import]:
    return [each for path in sources(package) for each in imports_in(path)]


@cache
def imports_in(path: Path) -> tuple[Import, ...]:
    """Every import of a file, also those in functions; `from a import b` counts as a.b where that is a module."""
    found: list[Import] = []

    def walk(node: ast.AST, *, lazy: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                file = str(path.relative_to(ROOT))
                found.extend(Import(file, child.lineno, name, lazy) for name in names_in(child, file))
            walk(child, lazy=lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    walk(ast.parse(path.read_text()), lazy=False)
    return tuple(found)


def names_in(node: ast.Import | ast.ImportFrom, file: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, (
        f"{file}:{node.lineno} imports relatively; imports are absolute, so that one sees the package"
    )
    module = str(node.module)
    whole = (f"{module}.{alias.name}" for alias in node.names)
    return list(dict.fromkeys(name if name in modules() else module for name in whole))


def closure(start: list[str], *, lazily: bool = True) -> list[str]:
    """The modules of ours that `start` imports, directly or through others, with `start` itself."""
    reached, waiting = set(), list(start)
    while waiting:
        module = waiting.pop()
        if module not in modules() or module in reached:
            continue
        reached.add(module)
        waiting += [each.module for each in imports_in(modules()[module]) if lazily or not each.lazy]
    return sorted(reached)


def training_may_import(each: Import) -> bool:
    if each.library == "models":
        return True
    if each.library == "infra":
        return each.module in TRAINING_MAY_IMPORT_OF_INFRA
    return each.library in TRAINING_MAY_IMPORT


def is_liberty(each: Import) -> bool:
    return each.file == COMPOSITION_ROOT and each.lazy and each.module in ITS_LIBERTIES


def lives_at(file: str, addresses: tuple[str, ...]) -> bool:
    return any(file.startswith(each) if each.endswith("/") else file == each for each in addresses)


def is_one_docstring(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    return len(tree.body) == 1 and bool(ast.get_docstring(tree))


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@cache
def modules() -> dict[str, Path]:
    """Every module of ours: `models.training` is its __init__ file, `models.training.loop` a file."""
    named = {}
    for package in BELOW:
        for path in sources(package):
            parts = path.relative_to(ROOT).with_suffix("").parts
            named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def listed(broken: list[Import], rule: str) -> str:
    return "\n".join([f"{rule}; but", *(f"  {each}" for each in broken)])
