"""Evidently's workspace of a project: its dashboard, built once, and a snapshot for each window that was drawn."""

import json
import logging
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import UUID, uuid5

os.environ["DO_NOT_TRACK"] = "1"
with warnings.catch_warnings():
    # The library warns about its own imports.
    warnings.simplefilter("ignore")
    from evidently.core.serialization import SnapshotModel
    from evidently.sdk.models import DashboardModel, DashboardPanelPlot, DashboardTabModel, PanelMetric, ProjectModel
    from evidently.sdk.panels import line_plot_panel, text_panel
    from evidently.ui.workspace import Workspace

from infra.files import write_atomically
from monitoring.evidence_records import BLOCKS, GROSS, HARM
from monitoring.evidently_pages import figures
from monitoring.evidently_pages.place import project_id, snapshot_path, snapshots_folder, workspace_folder

_log = logging.getLogger(__name__)

# Its server reads every snapshot at its start and keeps it in memory, pictures and all: 500 took it to 550 MB.
MOST_SNAPSHOTS, MOST_WITH_PICTURES = 300, 50
MOST_SUBGROUP_TABS = 8
_PICTURES = {"big_graph", "tabs", "tabbed_graph", "rich_data", "group"}
_DESCRIPTION = "Windows of predictions beside their reference. What decides is Kedge's evidence, on its own tab."


def open_workspace(home: Path, name: str) -> Workspace:
    """The project's workspace, made where there is none; its dashboard has every tab but those of subgroups."""
    folder = workspace_folder(home)
    try:
        workspace = Workspace.create(str(folder))
    # One file that the library cannot read, or no longer, keeps it from opening all the others.
    except ValueError:
        _drop_unreadable(folder)
        workspace = Workspace.create(str(folder))
    identifier = project_id(name)
    if workspace.get_project(identifier) is None:
        workspace.add_project(ProjectModel(id=identifier, name=name, description=_DESCRIPTION))
    snapshots_folder(home, name).mkdir(parents=True, exist_ok=True)
    _build_dashboard(workspace, identifier, ())
    return workspace


def keep_snapshot(home: Path, name: str, window: int, snapshot: str, subgroups: Sequence[tuple[str, str]]) -> Path:
    """
    Put a window's snapshot into the workspace, in place of an earlier one of the same window.

    subgroups: (column, value) pairs that get a tab of their own, as long as there are few.
    """
    workspace = open_workspace(home, name)
    _build_dashboard(workspace, project_id(name), [figures.subgroup_title(*one) for one in subgroups])
    path = snapshot_path(home, name, window)
    write_atomically(path, snapshot)
    # Evidently's server looks at files that are written to, not at those that are put in place by a rename.
    os.utime(path)
    prune(snapshots_folder(home, name))
    return path


def prune(folder: Path) -> None:
    """Keep the newest snapshots, and pictures in the newest few: the numbers of the others are drawn all the same."""
    newest_first = sorted(folder.glob("*.json"), reverse=True)
    for path in newest_first[MOST_SNAPSHOTS:]:
        path.unlink(missing_ok=True)
    # Pictures were taken from the older ones when they became so.
    for path in newest_first[MOST_WITH_PICTURES : MOST_WITH_PICTURES + 2]:
        _take_pictures(path)


def _drop_unreadable(folder: Path) -> None:
    for path in folder.glob("*/snapshots/*.json"):
        try:
            SnapshotModel.parse_obj(json.loads(path.read_text()))
        except ValueError:
            _drop(path)


def _drop(path: Path) -> None:
    _log.warning("The snapshot %s cannot be read, and is left out of the workspace", path.name)
    path.unlink(missing_ok=True)


def _take_pictures(path: Path) -> None:
    try:
        document = json.loads(path.read_text())
        kept = [widget for widget in document["widgets"] if widget["type"] not in _PICTURES]
    except (ValueError, KeyError, TypeError):
        _drop(path)
        return
    if len(kept) < len(document["widgets"]):
        write_atomically(path, json.dumps({**document, "widgets": kept}, separators=(",", ":")))
        os.utime(path)


def _build_dashboard(workspace: Workspace, identifier: UUID, subgroups: Iterable[str]) -> None:
    """
    Save the dashboard as a whole, and only where a tab is missing.

    The library's ways to add a panel to one that exists lose or double panels.
    """
    present = workspace.get_dashboard(identifier)
    fixed = _fixed_tabs()
    known = [tab.title for tab in present.tabs if tab.title and tab.title not in fixed]
    titles = list(dict.fromkeys([*known, *subgroups]))[:MOST_SUBGROUP_TABS]
    wanted = {**fixed, **{title: _of_subgroup(title) for title in titles}}
    for title, panels in wanted.items():
        for panel in panels:
            panel.id = uuid5(identifier, f"panel: {title}: {panel.title}: {panel.json(exclude={'id'})}")
    panels = [panel for those in wanted.values() for panel in those]
    if {panel.id for panel in panels} <= {panel.id for panel in present.panels}:
        return
    tabs = [
        DashboardTabModel(id=uuid5(identifier, f"tab: {title}"), title=title, panels=[panel.id for panel in those])
        for title, those in wanted.items()
    ]
    workspace.save_dashboard(identifier, DashboardModel(tabs=tabs, panels=panels))


def _fixed_tabs() -> dict[str, list[DashboardPanelPlot]]:
    """Release 0.7.23 keeps tabs but draws every panel on one page: so each tab begins with its name."""
    evidence = [_of_lane(lane) for lane in (GROSS, HARM, BLOCKS)]
    drift = [
        _lines("Atypical predictions, share", [_own(figures.ATYPICAL)], "Of each window, by channel."),
        _lines("Distance from the reference", [_own(figures.DISTANCE)], "0 the same, 1 nothing in common, by family."),
        _tests(
            "Column tests of Evidently: p-values", "ks", "Small where the column changed; of many, some are by chance."
        ),
        _tests("Column tests of Evidently: distances", "jensenshannon", "Of categories: 0 the same, 1 the most."),
        _lines("Distance from the first training", [_own(figures.ORIGIN)], "0 to 1; empty until a block is whole."),
        _lines("Faulty images, share", [_own(figures.FAULTS)], "The largest of any source; empty while none is."),
    ]
    quality = [PanelMetric(metric=name, legend=name) for name in ("Accuracy", "Precision", "Recall", "F1Score")]
    performance = [
        _accuracy("Accuracy"),
        _lines("Quality as Evidently computes it", quality, "On the rows that were drawn and have a label."),
        _lines("Predictions and labels", [_own(figures.COUNTS)], "Of each window.", "full"),
    ]
    return {
        "Evidence": [
            text_panel("Evidence", "What decides: each detector beside the line at which it alarms."),
            *evidence,
        ],
        "Drift": [text_panel("Drift", "What differs from the reference; it describes, and decides nothing."), *drift],
        "Performance": [text_panel("Performance", "With labels, and estimated without."), *performance],
    }


def _tests(title: str, method: str, words: str) -> DashboardPanelPlot:
    return _lines(
        title, [PanelMetric(metric="ValueDrift", metric_labels={"method": method}, legend="{{column}}")], words
    )


def _of_lane(lane: str) -> DashboardPanelPlot:
    values = [_own(figures.evidence_group(lane)), _own(figures.line_group(lane), "line of {{name}}")]
    return _lines(f"Lane: {lane}", values, "Decimal logarithms; an alarm where the evidence reaches its line.", "full")


def _of_subgroup(title: str) -> list[DashboardPanelPlot]:
    words = "From a report on this group alone."
    return [
        _accuracy(f"{title}: accuracy", f": {title}"),
        _lines(f"{title}: quality as Evidently computes it", [_own(f"Evidently: {title}")], words),
    ]


def _accuracy(title: str, of: str = "") -> DashboardPanelPlot:
    values = [
        _own(f"{figures.ACCURACY}{of}", "labelled, {{name}}"),
        _own(f"{figures.ESTIMATE}{of}", "estimated, {{name}}"),
    ]
    return _lines(title, values, "With 95 % intervals; where it is only estimated, concept drift is not excluded.")


def _lines(title: str, values: list[PanelMetric], words: str, size: str = "half") -> DashboardPanelPlot:
    return line_plot_panel(title=title, values=values, description=words, size=size)


def _own(group: str, legend: str = "{{name}}") -> PanelMetric:
    return PanelMetric(metric="OwnFigure", metric_labels={"group": group}, legend=legend)
