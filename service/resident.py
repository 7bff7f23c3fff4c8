"""Versions in memory: fetched, verified, loaded, warmed, proven before they answer; let go when nobody needs them."""

import ctypes
import gc
import logging
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa

from infra.objects import open_objects
from infra.settings import Settings
from models.artifact import ArtifactCorrupt, read_artifact
from models.golden import check_golden
from models.registry import Registry
from models.runtime import Runtime

logger = logging.getLogger(__name__)

_KEPT_FOLDERS = 4


class Resident:
    """The runtimes that one worker holds, by version; used by the thread that follows the pointers."""

    def __init__(self, settings: Settings) -> None:
        self._name, self._storage, self._serve = settings.project.name, settings.storage, settings.serve
        self.folder = settings.storage.home / "serving" / settings.project.name
        self._held: dict[int, Runtime] = {}

    @property
    def versions(self) -> tuple[int, ...]:
        """What is in memory now."""
        return tuple(sorted(self._held))

    def runtime(self, version: int, engine: sa.Engine | None) -> Runtime:
        """
        The version, ready to answer: at once where it is in memory, else loaded.

        Without an engine, while the database is away, only what was fetched before can be loaded.

        Raises:
            Exception: whatever is wrong with the version, in words: corrupt, incompatible, not to be fetched.
        """
        if version not in self._held:
            self._held[version] = self._loaded(version, engine)
        return self._held[version]

    def keep_only(self, versions: Iterable[int]) -> None:
        """Let every other version go, and give its memory back to the system."""
        wanted = set(versions)
        gone = [version for version in self._held if version not in wanted]
        for version in gone:
            del self._held[version]
        if gone:
            _give_memory_back()
            self._tidy(wanted)

    def _loaded(self, version: int, engine: sa.Engine | None) -> Runtime:
        folder = self.folder / str(version) if engine is None else self._fetched(version, engine)
        runtime = Runtime.open(folder, provider=self._serve.provider, threads=self._serve.threads)
        runtime.warm_up(self._serve.batch_images)
        check = check_golden(runtime)
        logger.info("%s:%d %s", self._name, version, check.words)
        return runtime

    def _fetched(self, version: int, engine: sa.Engine) -> Path:
        """The folder of the version; while the store is away, as it was fetched before, if it is whole."""
        registry = Registry(engine, open_objects(self._storage), self._name)
        try:
            return registry.fetch(version, self.folder)
        except Exception as error:
            folder = self.folder / str(version)
            if not _is_whole(folder, registry.version(version).onnx_sha256):
                raise
            logger.warning("%s:%d is taken as it was fetched before: %s", self._name, version, error)
            return folder

    def _tidy(self, wanted: set[int]) -> None:
        """Fetched files of versions long gone; some are kept, for a rollback while the store is away."""
        folders = sorted((path for path in self.folder.iterdir() if path.is_dir()), key=_age)
        for old in folders[:-_KEPT_FOLDERS]:
            if old.name not in {str(version) for version in wanted}:
                shutil.rmtree(old, ignore_errors=True)


def _is_whole(folder: Path, sha256: str) -> bool:
    """Whether the folder holds the graph that was registered, and a record that names it."""
    try:
        return read_artifact(folder).onnx_sha256 == sha256
    except ArtifactCorrupt:
        return False


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0  # another worker of this machine tidies too


def _give_memory_back() -> None:
    # Freed weights stay with the allocator otherwise: after many swaps a worker would seem to leak.
    gc.collect()
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):
            logger.debug("this C library gives no memory back")  # musl has no malloc_trim
