from dataclasses import replace

from monitoring.evidence import GROSS, HARM, DetectorEvidence, Evidence
from monitoring.faults import Look
from monitoring.triage import LabelsSoFar, Situation, TriageRules, decide

RULES = TriageRules()
CHANGED = DetectorEvidence(GROSS, "embedding", 6.0, 5.5, 300, 0.6, 0.2, 209)
HARMED = DetectorEvidence(HARM, "overall", 4.0, 3.6, 120, 0.35, 0.115, 88)
CALM = Situation(
    evidence=Evidence((), (), "calibrating: 3 of 14 blocks; gross change and labelled harm are watched"),
    look=Look(predictions=200),
    labels=LabelsSoFar(),
    predictions=5_000,
    window=200,
    source="camera",
    feedback_is_random=True,
    harm_labels=40,
)


def alarmed(*detectors: DetectorEvidence, labels: LabelsSoFar = CALM.labels, look: Look = CALM.look) -> Situation:
    return replace(CALM, evidence=Evidence(detectors, (), CALM.evidence.block_lane), labels=labels, look=look)


def test_without_an_alarm_nothing_is_to_be_done():
    verdict = decide(CALM, RULES)

    assert verdict.action == "nothing"
    assert verdict.reasons[0] == "No alarm in 5,000 predictions and 40 labels."
    assert "calibrating: 3 of 14 blocks" in verdict.reasons[1]


def test_too_little_traffic_is_said_to_be_no_evidence():
    verdict = decide(replace(CALM, predictions=12), RULES)

    assert verdict.reasons[0] == "Not enough evidence yet: 12 of 200 predictions."


def test_a_gross_change_alone_never_retrains_however_many_labels_there_are():
    many = LabelsSoFar(fresh=5_000, in_region=4_000, right_in_region=3_900)

    verdict = decide(alarmed(CHANGED, labels=many), RULES)

    assert verdict.action == "label_first"
    assert "Of 4000 labelled pictures from where the change is, 3900 were answered right." in verdict.reasons
    assert not verdict.starts_retrain


def test_harm_with_enough_labels_retrains():
    verdict = decide(alarmed(HARMED, labels=LabelsSoFar(fresh=120, in_region=60)), RULES)

    assert verdict.action == "retrain"
    assert verdict.starts_retrain
    assert verdict.reasons[0] == "Labelled harm: 35.0% of 120 labelled answers were wrong; up to 11.5% would be fine."
    assert round(verdict.avoidable_error, 3) == 0.235


def test_harm_with_too_few_labels_says_how_many_are_missing():
    verdict = decide(alarmed(HARMED, labels=LabelsSoFar(fresh=70, in_region=20, not_kept=9)), RULES)

    assert verdict.action == "label_first"
    labels, region = verdict.would_change
    assert labels == "30 more fresh labels (70 so far)."
    assert region.startswith("30 more labels from where the change is (20 so far); 9 labels cannot train")


def test_a_person_may_keep_the_start_of_a_retrain_to_themselves():
    verdict = decide(
        alarmed(HARMED, labels=LabelsSoFar(fresh=120, in_region=60)), replace(RULES, retrain_on_harm=False)
    )

    assert verdict.action == "retrain"
    assert not verdict.starts_retrain
    assert "trigger.retrain_on_harm is off" in verdict.reasons[-1]


def test_broken_input_is_mended_first_even_when_labels_show_harm():
    dark = Look(predictions=200, fault="90% of the newest 200 pictures are blank")

    verdict = decide(alarmed(CHANGED, HARMED, labels=LabelsSoFar(fresh=500, in_region=500), look=dark), RULES)

    assert verdict.action == "fix_input"
    assert decide(replace(CALM, look=dark), RULES).action == "nothing"


def test_a_known_source_that_changed_is_an_input_fault_until_labels_show_that_it_can_be_read():
    changed = Look(predictions=200, known_source_changed=0.8, new_sources={})

    assert decide(alarmed(CHANGED, look=changed), RULES).action == "fix_input"
    read = LabelsSoFar(fresh=6, in_region=6, right_in_region=2)
    assert decide(alarmed(CHANGED, look=changed, labels=read), RULES).action == "label_first"
    undeclared = replace(alarmed(CHANGED, look=changed), source="")
    assert decide(undeclared, RULES).action == "label_first"


def test_a_new_source_is_named():
    new = Look(predictions=200, new_sources={"C": 150})

    verdict = decide(alarmed(CHANGED, look=new), RULES)

    assert verdict.action == "label_first"
    assert "camera = C is new: 150 of the newest 200 predictions." in verdict.reasons
