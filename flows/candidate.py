"""
One candidate from order to verdict: collect, recall or forecast, train, export, judge, register.

Promotion is somebody else's deed.
"""

import json
import shutil
from datetime import datetime

from flows import launcher, training_report
from flows.collecting.manifest import keep_manifest, manifest_key
from flows.collecting.preparing import prepared
from flows.collecting.snapshot import Snapshot
from flows.forecasting.forecast import forecast_gain
from flows.judging import Judgement, judge, rules_of
from flows.orders import ARCHIVED, CANDIDATE, DECLINED, FIRST, SUCCESSOR, Order, Outcome
from flows.profile import write_profile
from flows.regimes.recall import recalled
from flows.telling import Teller
from flows.workplace import Workplace
from infra.clock import now
from models.gate_records import RECENT, UNDECIDED, GateDecision, Objection
from models.judged_again import state_of
from models.registry import ModelVersion, title_of
from monitoring.reference.profile import load_profile

__all__ = ["ARCHIVED", "CANDIDATE", "DECLINED", "FIRST", "SUCCESSOR", "Order", "Outcome", "make_candidate"]


def make_candidate(place: Workplace, order: Order, teller: Teller) -> Outcome:
    """
    Find an archived version that fits, or make, judge and register a candidate; it is promoted nowhere yet.

    Called again for a job that was broken off it goes on where that stood, and registers nothing twice.

    Raises:
        UserError: the data cannot be used, or training or export failed.
    """
    started = now()
    made = _made_before(place, order, started)
    if made is not None:
        return made
    champion = place.registry.champion()
    snapshot = prepared(place, order, champion, teller)
    if order.kind == SUCCESSOR and champion is not None:
        spared = _recalled(place, order, snapshot, champion, teller, started)
        spared = spared or _declined(place, order, snapshot, champion, teller, started)
        if spared is not None:
            shutil.rmtree(order.run_dir / "images", ignore_errors=True)
            return spared
    return _trained(place, order, snapshot, champion, teller, started)


def _made_before(place: Workplace, order: Order, started: datetime) -> Outcome | None:
    """What this very job registered before it was broken off; None where it did not get so far."""
    version = place.registry.version_of_job(order.job_id) if order.job_id else None
    if version is None or version.gate is None:
        return None
    # Without a profile its traffic could not be watched: then the last steps are done once more.
    if load_profile(place.engine, place.objects, place.registry.name, version.version) is None:
        return None
    shutil.rmtree(order.run_dir / "images", ignore_errors=True)
    seconds = (now() - started).total_seconds()
    decision = GateDecision.from_json(version.gate)
    return Outcome(version, decision, False, 0, 0, seconds, None, champion_version=version.parent_version)


def _recalled(
    place: Workplace, order: Order, snapshot: Snapshot, champion: ModelVersion, teller: Teller, started: datetime
) -> Outcome | None:
    """An archived version instead of a new one; None where none fits, trigger.regimes is off, or classes are added."""
    if not place.settings.trigger.regimes or order.new_classes:
        return None
    found = recalled(place, order.run_dir, snapshot, champion, order.reason, teller, order.job_id)
    if found is None:
        return None
    return Outcome(
        version=found.version,
        decision=found.decision,
        promoted=False,
        train_images=0,
        fresh_images=0,
        seconds=(now() - started).total_seconds(),
        report_page=None,
        state=ARCHIVED,
        words=found.words,
        champion_version=champion.version,
    )


def _declined(
    place: Workplace, order: Order, snapshot: Snapshot, champion: ModelVersion, teller: Teller, started: datetime
) -> Outcome | None:
    """Nothing, because the gate could not see what training would gain; None where it could, or nobody asked."""
    found = forecast_gain(place, order, snapshot, champion, teller)
    if found is None or found.worthwhile:
        return None
    objection = Objection(UNDECIDED, "forecast", RECENT, "overall", found.words, found.needed)
    return Outcome(
        version=champion,
        decision=GateDecision(UNDECIDED, False, (objection,), (), (), ()),
        promoted=False,
        train_images=0,
        fresh_images=0,
        seconds=(now() - started).total_seconds(),
        report_page=None,
        state=DECLINED,
        words=f"Not trained. {found.words}",
        champion_version=champion.version,
    )


def _trained(
    place: Workplace, order: Order, snapshot: Snapshot, champion: ModelVersion | None, teller: Teller, started: datetime
) -> Outcome:
    teller.say("Training; Ctrl-C stops it, and the same command goes on from there …")
    launcher.train(order.run_dir, teller.training, place.settings.train.devices)
    teller.trained()
    teller.say("Exporting to ONNX, with a parity check …")
    launcher.export(order.run_dir)
    candidate = order.run_dir / "candidate"
    teller.say("Judging on images that trained nothing …")
    judgement = judge(place, candidate, snapshot, champion, order.reason)
    report = training_report.draw(place, order.run_dir, snapshot, judgement)
    version = _register(place, order, champion, judgement, snapshot, report)
    keep_manifest(place, version, snapshot)
    page = report.write(version.title)
    write_profile(place, version, candidate, snapshot, judgement)
    # What trained is in the registry; the copies of the images would only fill the disk.
    shutil.rmtree(order.run_dir / "images", ignore_errors=True)
    return Outcome(
        version=version,
        decision=judgement.decision,
        promoted=False,
        train_images=len(snapshot.train),
        fresh_images=snapshot.fresh,
        seconds=(now() - started).total_seconds(),
        report_page=page,
        champion_version=None if champion is None else champion.version,
    )


def _register(
    place: Workplace,
    order: Order,
    champion: ModelVersion | None,
    judgement: Judgement,
    snapshot: Snapshot,
    report: training_report.Report,
) -> ModelVersion:
    decision = judgement.decision
    parent = champion.version if champion is not None and order.kind == SUCCESSOR else None
    candidate = order.run_dir / "candidate"
    name = place.registry.name
    version = place.registry.register(
        candidate,
        reason=order.reason,
        parent_version=parent,
        scorecard=judgement.scorecard.to_json(),
        gate=decision.to_json(),
        state=state_of(decision, last=parent is None or rules_of(place).planned_readings == 1),
        card_html=lambda number: report.card(title_of(name, number)),
        report_html=lambda number: report.page(title_of(name, number)),
        labels_until=snapshot.labels_until,
        job_id=order.job_id,
    )
    facts = {
        "version": version.version,
        "job": order.job_id,
        "outcome": decision.outcome,
        "relief": decision.relief,
        "words": decision.words(),
        "judge_old": len(snapshot.judge_old),
        "judge_recent": len(snapshot.judge_recent),
        "data_fingerprint": snapshot.fingerprint,
        "snapshot": manifest_key(version),
    }
    place.ledger.append("decisions", "gate", json.loads(json.dumps(facts)))
    return version
