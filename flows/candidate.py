"""One candidate from order to verdict: collect, train, export, judge, register. Promotion is somebody else's deed."""

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows import collect, launcher, training_report
from flows.input_size import chosen_size
from flows.judging import Judgement, judge
from flows.plans import first_plan, successor_plan
from flows.profile import write_profile
from flows.telling import Teller
from flows.workplace import Workplace
from infra.clock import now
from models.artifact import read_artifact
from models.gate_records import PROMOTE, GateDecision
from models.registry import ModelVersion, title_of
from models.training.plan import TrainingPlan, read_plan, write_plan

FIRST, SUCCESSOR = "train", "retrain"


@dataclass(frozen=True)
class Order:
    """
    What is to be made.

    Attributes:
        kind: "train" (from the manifest, from the settings' weights) or "retrain" (from the champion).
        reason: "first", "drift", "harm", "schedule", "manual", or a person's words.
        run_dir: Where the job works; one that was broken off there is gone on with.
        shift: "input" where the watcher saw that the images themselves had changed; else empty.
    """

    kind: str
    reason: str
    run_dir: Path
    shift: str = ""


@dataclass(frozen=True)
class Outcome:
    """
    A registered candidate and what the gate said.

    Attributes:
        promoted: Whether it is champion now.
        fresh_images: Training images that came from production.
        seconds: From order to registration.
        report_page: What was trained, how it went and how good it is, as one HTML page.
    """

    version: ModelVersion
    decision: GateDecision
    promoted: bool
    train_images: int
    fresh_images: int
    seconds: float
    report_page: Path

    @property
    def refused(self) -> bool:
        """Whether the gate kept it from being promoted."""
        return not self.promoted and self.version.state == "refused"


def make_candidate(place: Workplace, order: Order, teller: Teller) -> Outcome:
    """
    Make, judge and register one candidate; it is promoted nowhere yet.

    Raises:
        UserError: the data cannot be used, or training or export failed.
    """
    started = now()
    champion = place.registry.champion()
    snapshot = _prepare(place, order, champion, teller)
    teller.say("Training; Ctrl-C stops it, and the same command goes on from there …")
    launcher.train(order.run_dir, teller.training, place.settings.train.devices)
    teller.trained()
    teller.say("Exporting to ONNX, with a parity check …")
    launcher.export(order.run_dir)
    candidate = order.run_dir / "candidate"
    teller.say("Judging on images that trained nothing …")
    judgement = judge(place, candidate, snapshot, champion, _gate_reason(order))
    report = training_report.draw(place, order.run_dir, snapshot, judgement)
    version = _register(place, order, champion, judgement, snapshot, report)
    page = report.write(version.title)
    write_profile(place, version, candidate, snapshot, judgement)
    # What trained is in the registry; the copies of the images would only fill the disk.
    shutil.rmtree(order.run_dir / "images", ignore_errors=True)
    seconds = (now() - started).total_seconds()
    return Outcome(version, judgement.decision, False, len(snapshot.train), snapshot.fresh, seconds, page)


def _prepare(place: Workplace, order: Order, champion: ModelVersion | None, teller: Teller) -> collect.Snapshot:
    kept = collect.kept_snapshot(order.run_dir)
    parent = None if champion is None else champion.version
    # Begun from another champion, it would be judged against one that it never met: then it starts anew.
    if kept is not None and order.kind == SUCCESSOR and read_plan(order.run_dir).parent_version == parent:
        teller.say(f"Going on in {order.run_dir}.")
        return kept
    if order.kind == SUCCESSOR and champion is not None:
        folder = place.registry.fetch(champion.version, place.fetched, with_weights=True)
        artifact = read_artifact(folder, with_weights=True)
        snapshot = collect.retrain_snapshot(place, champion, artifact.classes)
        plan = successor_plan(place.settings, artifact, champion.version, order.reason, order.shift)
        start = folder / "model.safetensors"
    else:
        snapshot = collect.first_snapshot(place)
        plan = first_plan(place.settings, snapshot.classes, order.reason, _image_size(place, snapshot, teller))
        start = None
        if kept == snapshot and read_plan(order.run_dir) == plan:
            teller.say(f"Going on in {order.run_dir}: data and settings are the same.")
            return kept
    _begin(place, order.run_dir, snapshot, plan, start)
    words = f"{len(snapshot.train)} images train ({snapshot.fresh} of them newly labelled), "
    words += f"{len(snapshot.select)} select, {len(snapshot.judge_old) + len(snapshot.judge_recent)} judge."
    teller.say(words + "".join(f" {count} left out: {why}." for why, count in snapshot.left_out.items()))
    for remark in snapshot.remarks:
        teller.warn(f"{remark}.")
    return snapshot


def _image_size(place: Workplace, snapshot: collect.Snapshot, teller: Teller) -> int:
    """Pixels a side of a first model's images; 0 = as the settings say."""
    if place.settings.model.image_size:
        return 0
    size = chosen_size(place.settings.model.backbone, snapshot.train, partial(collect.read_image, place))
    if size.words:
        teller.say(size.words)
    return size.pixels


def _begin(place: Workplace, run_dir: Path, snapshot: collect.Snapshot, plan: TrainingPlan, start: Path | None) -> None:
    """Fill the run directory; the snapshot comes last, and by it a whole one is known."""
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(parents=True)
    if start is not None:
        shutil.copyfile(start, run_dir / "start.safetensors")
    collect.write_run_dir(place, snapshot, run_dir)
    write_plan(plan, run_dir)
    collect.keep_snapshot(snapshot, run_dir)


def _gate_reason(order: Order) -> str:
    known = {"first", "drift", "harm", "schedule", "manual"}
    return order.reason if order.reason in known else "manual"


def _register(
    place: Workplace,
    order: Order,
    champion: ModelVersion | None,
    judgement: Judgement,
    snapshot: collect.Snapshot,
    report: training_report.Report,
) -> ModelVersion:
    decision = judgement.decision
    candidate = order.run_dir / "candidate"
    name = place.registry.name
    version = place.registry.register(
        candidate,
        reason=order.reason,
        parent_version=champion.version if champion is not None and order.kind == SUCCESSOR else None,
        scorecard=judgement.scorecard.to_json(),
        gate=decision.to_json(),
        state="registered" if decision.outcome == PROMOTE or decision.relief else "refused",
        card_html=lambda number: report.card(title_of(name, number)),
        report_html=lambda number: report.page(title_of(name, number)),
        labels_until=snapshot.labels_until,
    )
    facts = {
        "version": version.version,
        "outcome": decision.outcome,
        "relief": decision.relief,
        "words": decision.words(),
        "judge_old": len(snapshot.judge_old),
        "judge_recent": len(snapshot.judge_recent),
        "data_fingerprint": snapshot.fingerprint,
    }
    place.ledger.append("decisions", "gate", json.loads(json.dumps(facts)))
    return version
