"""A backtest as a person reads it on a terminal, and as files."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from flows.backtest.backtesting import BacktestReport
from flows.show import table
from flows.status import to_json
from infra.files import write_atomically
from models.registry import title_of
from models.tradeoff_plot import PolicyPoints, draw_tradeoff
from monitoring.backtesting.scores import PolicyScore

JSON, PICTURE = "backtest.json", "backtest.svg"


def show_backtest(console: Console, report: BacktestReport) -> None:
    """What was replayed, the policies side by side, and what the figures do not say."""
    title = title_of(report.name, report.version)
    span = f"{report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC"
    console.print(f"{title}: {report.predictions:,} answers, {span}", style="bold", highlight=False)
    labels = f"{report.labelled:,} of them labelled, {report.drawn:,} of those drawn by chance"
    console.print(
        f"{labels}; a retrain costs {report.training_minutes:.3g} minutes ({report.cost_basis}).", highlight=False
    )
    shown = table("policy", "#right %", "#retrains", "#promoted", "#minutes", "", "what it does")
    for score in report.scores:
        best = Text("best for its cost" if score.on_frontier else "", "green")
        counts = (str(score.retrains), str(score.promoted), f"{score.training_minutes:.3g}")
        shown.add_row(Text(score.policy), _share(score), *counts, best, Text(report.words[score.policy], "dim"))
    console.print(shown)
    for score in report.scores:
        for one in score.when:
            came = "promoted" if one.promoted else "not promoted"
            words = f"  {one.asked_at:%m-%d %H:%M}  {score.policy}: {one.reason}, {came} – {one.judged}"
            if one.judged_again:
                words += f" It waited {one.waited_days:.3g} days for labels. {one.judged_again}"
            console.print(Text(words, "dim"), soft_wrap=True)
    for note in report.notes:
        console.print(Text(note), soft_wrap=True)


def write_backtest(report: BacktestReport, folder: Path) -> tuple[Path, Path]:
    """The report as JSON and as a picture; gives where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / JSON, folder / PICTURE
    write_atomically(written[0], to_json(report) + "\n")
    draw_tradeoff([_points(score) for score in report.scores if score.accuracy is not None], written[1])
    return written


def _share(score: PolicyScore) -> str:
    if score.accuracy is None or score.interval is None:
        return "–"
    low, high = score.interval
    return f"{100 * score.accuracy:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def _points(score: PolicyScore) -> PolicyPoints:
    return PolicyPoints(
        name=score.policy,
        cost=score.training_minutes,
        accuracy=score.accuracy or 0.0,
        interval=score.interval or (0.0, 1.0),
        on_frontier=score.on_frontier,
        times=[one.began_at + (one.ended_at - one.began_at) / 2 for one in score.periods],
        over_time=[one.accuracy for one in score.periods],
    )
