"""Our parts of Evidently's page: a heading in words, our own figures as metrics, and its columns side by side."""

from collections.abc import Sequence
from typing import Any, ClassVar

from evidently.core.container import MetricContainer
from evidently.core.metric_types import SingleValueCalculation, SingleValueMetric
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import WidgetSize, table_data, text_widget

_NOTHING = "–"
_BESIDE = ["Figure", "This window", "Reference"]
_Children = list[tuple[Any, list[BaseWidgetInfo]]]


class OwnFigure(SingleValueMetric):  # type: ignore[misc]  # the library has no types
    """
    A number that we computed, so that the library's dashboard can draw it.

    It lies in the dataset's metadata: were it a field, every value would begin a series of its own.
    """

    group: str
    name: str

    @property
    def key(self) -> str:
        return f"{self.group}\x1f{self.name}"


class OwnFigureCalculation(SingleValueCalculation[OwnFigure]):  # type: ignore[misc]  # the library has no types
    """Looks the number up; nothing of it is drawn on the page itself, whose heading says it in words."""

    def calculate(self, _context: Any, current_data: Any, _reference_data: Any) -> Any:
        result = self.result(float(current_data.metadata[self.metric.key]))
        result.widget = []
        return result

    def display_name(self) -> str:
        return f"{self.metric.group}: {self.metric.name}"


class Heading(MetricContainer):  # type: ignore[misc]  # the library has no types
    """Words, and the evidence of every detector beside its line."""

    title: str
    text: str
    evidence: list[list[str]]

    def generate_metrics(self, _context: Any) -> Sequence[Any]:
        return []

    def render(self, _context: Any, _child_widgets: _Children | None = None) -> list[BaseWidgetInfo]:
        shown = [text_widget(title=self.title, text=self.text)]
        if self.evidence:
            columns = ["Lane", "Detector", "Evidence, log10", "Its line", "State"]
            shown.append(table_data(title="Evidence when the window closed", column_names=columns, data=self.evidence))
        return shown


class Subgroups(MetricContainer):  # type: ignore[misc]  # the library has no types
    """One row for each subgroup's own report."""

    QUALITY: ClassVar[tuple[str, ...]] = ("Accuracy", "Precision", "Recall", "F1Score")

    rows: list[list[str]]

    def generate_metrics(self, _context: Any) -> Sequence[Any]:
        return []

    def render(self, _context: Any, _child_widgets: _Children | None = None) -> list[BaseWidgetInfo]:
        names = ["Subgroup", "Rows", "Labelled", *self.QUALITY, "Least p-value against its own reference"]
        return [table_data(title="Subgroups, a report each", column_names=names, data=self.rows)]


class Quality(MetricContainer):  # type: ignore[misc]  # the library has no types
    """The labelled rows: each figure beside the reference's, and the confusion matrix once."""

    metrics_of_labels: list[Any]

    def __init__(self, metrics: list[Any], **given: Any) -> None:
        super().__init__(metrics_of_labels=metrics, **given)

    def generate_metrics(self, _context: Any) -> Sequence[Any]:
        return self.metrics_of_labels

    def render(self, context: Any, child_widgets: _Children | None = None) -> list[BaseWidgetInfo]:
        rows: list[list[str]] = []
        by_class: dict[str, list[str]] = {}
        kinds = []
        for metric in self.metrics_of_labels:
            found = context.get_metric_result(metric)
            past = context.get_reference_metric_result(metric.metric_id)
            name = type(metric).__name__
            if hasattr(found, "value"):
                rows.append([name, _rounded(found.value), _rounded(past.value)])
                continue
            kinds.append(name.removesuffix("ByLabel"))
            values = [{str(label): one.value for label, one in side.values.items()} for side in (found, past)]
            for label in sorted({**values[0], **values[1]}):
                cells = by_class.setdefault(label, [_NOTHING] * 2 * (len(kinds) - 1))
                cells += [_rounded(side.get(label)) for side in values]
        shown = [table_data(title="Quality where labels exist", column_names=_BESIDE, data=rows)]
        if by_class:
            names = ["Class", *(name for kind in kinds for name in (kind, "in the reference"))]
            filled = [[label, *cells, *[_NOTHING] * (len(names) - 1 - len(cells))] for label, cells in by_class.items()]
            shown.append(table_data(title="Quality of each class", column_names=names, data=filled))
        matrices = [one for _, widgets in child_widgets or [] for one in widgets if one.type == "big_graph"]
        if matrices:
            matrices[0].title = "Confusion matrix"
        return [*shown, *matrices[:1]]


class Columns(MetricContainer):  # type: ignore[misc]  # the library has no types
    """Every column's test in one table, our distance beside it, and the two distributions, two to a row."""

    columns: list[Any]
    distances: dict[str, float]

    def __init__(self, metrics: list[Any], distances: dict[str, float], **given: Any) -> None:
        super().__init__(columns=metrics, distances=distances, **given)

    def generate_metrics(self, _context: Any) -> Sequence[Any]:
        return self.columns

    def render(self, context: Any, child_widgets: _Children | None = None) -> list[BaseWidgetInfo]:
        found = []
        for metric, (_, widgets) in zip(self.columns, child_widgets or [], strict=True):
            value = float(context.get_metric_result(metric).value)
            row = [metric.column, metric.method, f"{value:.3g}", _rounded(self.distances.get(metric.column))]
            # What differs most comes first: a small p-value, a large distance.
            order = (metric.method != "ks", value if metric.method == "ks" else -value)
            found.append((order, row, _distribution(metric.column, widgets)))
        found.sort(key=lambda one: one[0])
        names = ["Column", "Test", "Its value", "Our distance, 0 to 1"]
        table = table_data(
            title="Columns, as Evidently tests them", column_names=names, data=[row for _, row, _ in found]
        )
        return [table, *(picture for _, _, pictures in found for picture in pictures)]


def _distribution(column: str, widgets: list[BaseWidgetInfo]) -> list[BaseWidgetInfo]:
    """The picture of both distributions alone; the other one draws the rows in the order they came, nearly each."""
    for widget in widgets:
        for tab in widget.tabs:
            if tab.title == "DATA DISTRIBUTION":
                tab.widget.title, tab.widget.size = column, WidgetSize.HALF.value
                return [tab.widget]
    return widgets


def _rounded(value: Any) -> str:
    return _NOTHING if value is None else f"{float(value):.3f}"
