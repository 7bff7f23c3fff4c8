"""Real arrivals of meters, device after device: what each signal says, which alarms, which verdicts, in order."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from models.prediction import Label
from monitoring import evidence
from monitoring.evidence_records import GROSS, HARM, DetectorEvidence, EvidenceSettings
from monitoring.identification import ShiftReport, identify
from monitoring.incoming.faults import look
from monitoring.signals import drift_report
from monitoring.triage import decide
from monitoring.triage_records import LabelsSoFar, Situation, TriageRules, Verdict
from monitoring.watching.observations import gross_observations, harm_observations
from tests.benchmarks.datasets import data_folder
from tests.benchmarks.monitoring_meter_faults import fault_rows
from tests.benchmarks.monitoring_meters_world import FIRST, Seen, World, day, predictions, world
from tests.benchmarks.monitoring_rows import Row, Section

_WORK = Path("build/bench-monitoring")
_WINDOW, _LABELLED = 200, 0.25
_SETTINGS, _RULES = EvidenceSettings(), TriageRules()
_HOME = "more of the first three groups"
_LEAST_OF_A_DEVICE = 20
_HOW = (
    f"A small convolutional network, trained on {', '.join(FIRST)}, is watched while other meters arrive, in the order "
    "of their first dated picture (undated ones last). Source column: device. One picture in "
    f"{1 / _LABELLED:.0f} gets a label by chance, and labels count as harm. The evidence begins anew with each device, "
    "as after an alarm that was acted on; the block lane does not apply, for there are no days of traffic."
)
_FAULTS = (
    "Faults: of each device with enough pictures the earlier half is the reference and the later half arrives, as it "
    "is and corrupted, in windows of 40 pictures."
)


@dataclass(frozen=True)
class Told:
    """What the watch said of one device, at its end and along the way."""

    device: str
    images: int
    accuracy: float
    atypical: dict[str, float]
    effects: dict[str, tuple[str, float]]
    alarms: tuple[str, ...]
    verdicts: tuple[tuple[int, str], ...]
    shift: ShiftReport
    faults: tuple[str, ...]


def section(*, quick: bool) -> Section:
    """The stream, then what corrupted copies and honest pictures of the same meters are called."""
    named = os.environ.get("KEDGE_BENCH_DATA")
    title = "Real arrivals: meters"
    if not named:
        return Section(title, ("Left out: KEDGE_BENCH_DATA does not say where meter_digits lies.",), ())
    there = world(data_folder(Path(named)), _WORK)
    told = [_watched(there, device, seen) for device, seen in _devices(there)]
    words = [_HOW, *(_words(one) for one in told)]
    rows = [row for one in told for row in _rows(one)]
    return Section(title, (*words, _FAULTS), (*rows, *fault_rows(there, quick=quick)))


def _devices(there: World) -> Iterator[tuple[str, Seen]]:
    yield _HOME, there.home
    devices = np.array(there.later.devices)
    for device in dict.fromkeys(there.later.devices):
        places = np.flatnonzero(devices == device)
        if len(places) >= _LEAST_OF_A_DEVICE:
            yield device, there.later.rows(places)


def _watched(there: World, device: str, seen: Seen) -> Told:
    profile, batch = there.profile, there.batch(seen)
    state = evidence.begin(
        model_version=1, reason="first look", judged_errors=profile.judged_errors, settings=_SETTINGS
    )
    begin = day(min((one for one in seen.days if one), default=""))
    arrived = predictions(batch, seen, begin)
    labelled = np.random.default_rng(0).random(len(arrived)) < _LABELLED
    alarms: list[DetectorEvidence] = []
    verdicts: list[tuple[int, str]] = []
    fault_words: list[str] = []
    for start in range(0, len(arrived), _WINDOW):
        rows = arrived[start : start + _WINDOW]
        part = batch.take(np.arange(start, start + len(rows)))
        times = np.array([row.at.replace(tzinfo=None) for row in rows], dtype="datetime64[us]")
        observed = gross_observations(profile, part, times, state.last_number.get(GROSS, 0) + 1, "")
        state, said = evidence.update_all(state, [one for _, one in observed], _SETTINGS)
        alarms += said.new_alarms
        chosen = [place for place in range(start, start + len(rows)) if labelled[place]]
        pairs = [(_label(seen.truth[place], arrived[place].id, arrived[place].at), arrived[place]) for place in chosen]
        number = state.last_number.get(HARM, 0) + 1
        state, said = evidence.update_all(state, harm_observations(profile, pairs, number, ()), _SETTINGS)
        alarms += said.new_alarms
        newest = arrived[max(0, start + len(rows) - _WINDOW) : start + len(rows)]
        seen_now = look(profile, newest, "device")
        fault_words += [one.words for one in seen_now.faults]
        done = [place for place in range(start + len(rows)) if labelled[place]]
        right = sum(seen.truth[place] == arrived[place].label for place in done)
        verdict = decide(
            Situation(
                evidence=said,
                look=seen_now,
                labels=LabelsSoFar(fresh=len(done), in_region=len(done), right_in_region=right),
                predictions=start + len(rows),
                window=_WINDOW,
                source="device",
                feedback_is_random=True,
                harm_labels=len(done),
                shift=identify(profile, part),
            ),
            _RULES,
        )
        _remember(verdicts, start + len(rows), verdict)
    report = drift_report(profile, batch)
    effects: dict[str, tuple[str, float]] = {}
    for signal in report.signals:
        effects.setdefault(signal.family, (signal.name, signal.effect))
    accuracy = float(np.mean([answer == truth for answer, truth in zip(batch.labels, seen.truth, strict=True)]))
    return Told(
        device,
        len(arrived),
        accuracy,
        dict(report.atypical),
        effects,
        tuple(_alarm(one) for one in alarms),
        tuple(verdicts),
        identify(profile, batch, least_rows=100),
        tuple(dict.fromkeys(fault_words)),
    )


def _alarm(one: DetectorEvidence) -> str:
    what = "picture" if one.lane == GROSS else "label"
    return f"{one.lane} ({one.detector}) at {what} {one.alarmed_at}"


def _remember(verdicts: list[tuple[int, str]], place: int, verdict: Verdict) -> None:
    if not verdicts or verdicts[-1][1] != verdict.action:
        verdicts.append((place, verdict.action))


def _label(truth: str, identifier: str, at: datetime) -> Label:
    return Label(identifier, truth, at + timedelta(hours=1), "audit")


def _words(one: Told) -> str:
    shares = ", ".join(f"{name} {share:.0%}" for name, share in one.atypical.items())
    effects = ", ".join(f"{family} {effect:.2f} ({name})" for family, (name, effect) in one.effects.items())
    verdicts = ", then ".join(f"{action.replace('_', ' ')} (after {place})" for place, action in one.verdicts)
    faults = f" Called faulty: {'; '.join(one.faults)}." if one.faults else ""
    return (
        f"**{one.device}**, {one.images} pictures, accuracy {one.accuracy:.1%}. Atypical: {shares}. "
        f"Effects: {effects}. Alarms: {'; '.join(one.alarms) or 'none'}. {one.shift.words[0]} Verdict: {verdicts}."
        f"{faults}"
    )


def _rows(one: Told) -> Iterator[Row]:
    yield Row(f"{one.device}: accuracy of {one.images}", "%", round(100 * one.accuracy, 1))
    yield Row(f"{one.device}: largest share of atypical pictures", "%", round(100 * max(one.atypical.values()), 1))
    quiet = one.device == _HOME
    yield Row(
        f"{one.device}: alarms",
        "",
        float(len(one.alarms)),
        goal="none" if quiet else "",
        met=not one.alarms if quiet else None,
        why="" if not quiet or not one.alarms else "; ".join(one.alarms),
    )


def main() -> None:
    """Alone, printing its table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.monitoring_meters", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer corrupted copies")
    parser.add_argument("--data", type=Path, help="the folder that holds meter_digits/ and weights/")
    asked = parser.parse_args()
    if asked.data:
        os.environ["KEDGE_BENCH_DATA"] = str(asked.data.resolve())
    found = section(quick=asked.quick)
    print("\n\n".join((found.title, *found.words)))
    for row in found.rows:
        print(f"{row.what:90s} {'' if row.ours is None else row.ours:>8} {row.unit} {row.goal}")
    print(Counter(row.met for row in found.rows), file=sys.stderr)


if __name__ == "__main__":
    main()
