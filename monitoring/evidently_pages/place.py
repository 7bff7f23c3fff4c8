"""Where Evidently's workspace lies, and what its project and snapshots are called: known without the library."""

from collections.abc import Iterable
from pathlib import Path
from uuid import UUID, uuid5

_NAMESPACE = UUID("5f4c1d0e-6a53-5d0c-9a0f-6b6564676500")


def workspace_folder(home: Path) -> Path:
    """Beside the database and the spool: pages are copies, and may be deleted at any time."""
    return home / "evidently"


def project_id(name: str) -> UUID:
    """The same for a model's name at every start, so that a link to it stays good."""
    return uuid5(_NAMESPACE, name)


def snapshots_folder(home: Path, name: str) -> Path:
    return workspace_folder(home) / str(project_id(name)) / "snapshots"


def snapshot_path(home: Path, name: str, window: int) -> Path:
    """
    One file for each window, however often it is drawn.

    Its name is an id (version 8, RFC 9562) that begins with the window's number: files sort as windows do.
    """
    rest = project_id(name).int & ((1 << 62) - 1)
    identifier = UUID(int=(window << 80) | (8 << 76) | (2 << 62) | rest)
    return snapshots_folder(home, name) / f"{identifier}.json"


def drop_snapshots(home: Path, name: str, windows: Iterable[int]) -> int:
    """Delete the snapshots of these windows; gives how many there were."""
    paths = [snapshot_path(home, name, window) for window in windows]
    there = [path for path in paths if path.exists()]
    for path in there:
        path.unlink(missing_ok=True)
    return len(there)
