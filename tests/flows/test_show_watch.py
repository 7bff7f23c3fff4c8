"""What a look prints, whatever people have named their classes and cameras."""

import io
from dataclasses import replace

from rich.console import Console

from flows.show_watch import show_seen
from flows.watching import Seen
from infra.clock import now
from monitoring.evidence_records import DetectorEvidence
from monitoring.policies.decide import decide
from monitoring.policies.expression import parse
from monitoring.policies.records import PolicyInput
from monitoring.policies.rules import PolicyRules
from monitoring.triage_records import LabelsSoFar

NASTY = r"class=[/x] of \[red]"
SEEN = Seen(
    at=now(),
    action="label_first",
    reasons=(f"Labelled harm for {NASTY}.",),
    windows=(3,),
    alarms=(NASTY,),
    page=0,
    job_id="",
    would_change=(f"Labels of {NASTY}.",),
    detectors=(
        DetectorEvidence("labelled harm", NASTY, 5.0, 4.7, 90, 0.4, 0.1, 88),
        DetectorEvidence("blocks", "outputs", 0.0, 2.9, 0, 0.0, 0.5, None),
    ),
    lanes={"blocks": "calibrating: 0 of 14 blocks", "gross": "watching"},
)


def shown(seen, **options):
    page = io.StringIO()
    show_seen(Console(file=page, width=200), seen, **options)
    return page.getvalue()


def test_names_that_look_like_markup_are_printed_as_they_are():
    said = shown(SEEN)

    assert said.count(NASTY) == 4
    assert f"  alarm: {NASTY}" in said


def test_the_evidence_of_each_detector_stands_beside_its_line_and_what_would_change_the_verdict():
    lines = [" ".join(line.split()) for line in shown(SEEN).splitlines()]

    assert f"labelled harm {NASTY} 90 5.0 4.7 alarm" in lines
    assert "blocks outputs 0 0.0 2.9 nothing yet" in lines
    assert "gross – watching" in lines
    assert "What would change it" in lines


def test_what_asks_for_a_retrain_what_it_may_win_and_what_it_costs_is_told():
    rules = PolicyRules(text="any(harm, labels)", when=parse("any(harm, labels)"), new_labels=200)
    harmed = PolicyInput(
        at=now(), action="retrain", words=f"Harm for {NASTY}.", avoidable_error=0.1, avoidable_basis="labels",
        labels=LabelsSoFar(fresh=150, in_region=150), predictions_per_day=1_200.0,
    )  # fmt: skip

    said = shown(replace(SEEN, decision=decide(harmed, rules)))

    assert f"  A retrain starts. The verdict is to retrain. Harm for {NASTY}." in said
    assert "  A retrain may avoid about 120 errors a day (by labels), for about 30 minutes of training (at most" in said
    assert "  Retrain by labels: 50 more labels." in said


def test_one_of_many_looks_is_told_in_short():
    said = shown(replace(SEEN, detectors=(SEEN.detectors[1],)), whole=False)

    assert "What would change it" not in said
    assert "outputs" not in said
