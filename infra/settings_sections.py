"""
Every setting, by section: its type, its default, and a comment that carries its unit.

`kedge init` writes them into kedge.toml; `infra.settings` reads them back.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def _field(
    default: Any,
    comment: str,
    *,
    choices: tuple[str, ...] = (),
    least: float | None = None,
    most: float | None = None,
    form: str = "",
    sizes: tuple[int, ...] = (),
) -> Any:
    metadata = {"comment": comment, "choices": choices, "least": least, "most": most, "form": form, "sizes": sizes}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class ProjectSettings:
    # It becomes part of file names, object keys and metric labels everywhere.
    name: str = _field(
        "classifier",
        "the model's name in the registry, answers and metrics: letters, digits, '.', '_' and '-'",
        form=r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    )


@dataclass(frozen=True)
class StorageSettings:
    home: Path = _field(Path(".kedge"), "everything Kedge keeps on this machine")
    database: str = _field("", 'SQLAlchemy URL; "" = SQLite in home; postgresql+psycopg://user@host/db for a team')
    objects: str = _field("", 'object store; "" = a folder in home; s3://bucket/prefix for a team')
    s3_endpoint: str = _field("", 'address of an S3 server that is not Amazon\'s; "" = Amazon')
    s3_region: str = _field("us-east-1", "S3 region; credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


@dataclass(frozen=True)
class DataSettings:
    manifest: Path = _field(
        Path("data/manifest.csv"), "CSV or Parquet with columns image and label, or a folder per class"
    )
    subgroups: tuple[str, ...] = _field((), "metadata columns whose values are judged and audited as subgroups")
    source: str = _field("", 'metadata column that names the camera or site; "" = none')
    group: str = _field("", 'metadata column of images that belong together (a session); "" = each image alone')
    near_duplicate_distance: int = _field(
        4, "bits of 100 by which copies of one picture may differ; 0 = only files with the same bytes", least=0, most=20
    )
    exclude: str = _field(
        "", 'CSV with a column image: those neither train nor select; `kedge data --label-errors` writes one; "" = none'
    )
    untrusted_labellers: tuple[str, ...] = _field(
        (), "names of people or programs (labelled_by) whose labels neither train, select nor judge"
    )


@dataclass(frozen=True)
class ModelSettings:
    backbone: str = _field("mobilenetv3_small_100", "a timm classifier")
    options: dict[str, Any] = _field({}, "further arguments of timm.create_model")
    weights: str = _field(
        "auto",
        '"auto" = timm\'s pretrained weights, or none where they cannot be fetched; "timm" = insist on them; '
        '"none" = from scratch; or a .safetensors file',
    )
    licence: str = _field("", 'licence of those weights; "" = as timm or the file says it')
    image_size: int = _field(0, "pixels a side; 0 = the network's own", least=0)
    mean: tuple[float, ...] = _field(
        (), "three channel means in 0..1; [] = the network's own", sizes=(0, 3), least=0, most=1
    )
    std: tuple[float, ...] = _field(
        (), "three channel deviations, over 0 up to 1; [] = the network's own", sizes=(0, 3), least=0.001, most=1
    )


@dataclass(frozen=True)
class TrainSettings:
    strategy: str = _field(
        "staged",
        "how to fine-tune; auto climbs from the cheapest to the whole network",
        choices=("auto", "head", "staged", "full", "layerwise", "surgical", "scratch"),
    )
    good_enough: float = _field(
        0.98, "auto climbs no further at this macro recall, once the gate's floors hold; 0 = at the floors", least=0
    )
    budget_minutes: float = _field(30.0, "a training job stops itself after this many minutes", least=0.01)
    seed: int = _field(0, "the same seed on the same CPU gives the same model", least=0)
    batch_images: int = _field(32, "images per update of the weights; 0 = chosen by how many there are", least=0)
    micro_batch_images: int = _field(
        0, "images per forward pass, where a whole batch does not fit; 0 = the whole batch", least=0
    )
    least_epochs_per_stage: int = _field(1, "epochs", least=1)
    most_epochs_per_stage: int = _field(20, "epochs", least=1)
    patience_epochs: int = _field(4, "epochs without improvement before a stage ends", least=1)
    metric: str = _field(
        "macro_recall",
        "what counts as improvement, on the selection images",
        choices=("macro_recall", "accuracy", "macro_f1", "least_recall", "loss"),
    )
    learning_rate: float = _field(
        0.0, "of the head; lower groups get less, down to a tenth; 0 = by the kind of network", least=0, most=10
    )
    schedule: str = _field(
        "cosine",
        "of the learning rate in a stage; wsd = warm-up, stable, decay",
        choices=("cosine", "plateau", "wsd"),
    )
    weight_decay: float = _field(0.01, "of weight matrices; norms and biases never decay", least=0, most=1)
    dropout: float = _field(0.0, "before the head, 0..1; 0 = the network's own", least=0, most=0.9)
    drop_path: float = _field(0.0, "residual branches left out, 0..1; 0 = the network's own", least=0, most=0.9)
    label_smoothing: float = _field(0.0, "0..1", least=0, most=0.9)
    ema_decay: float = _field(0.0, "of a running mean of the weights, such as 0.999; 0 = none", least=0, most=0.99999)
    clip_norm: float = _field(1.0, "most length of the gradient; 0 = any", least=0)
    l2_sp: float = _field(0.0, "pull towards the weights it starts from, such as 0.01; 0 = none", least=0)
    interpolate: bool = _field(False, "mix start and result by as much as is best on old and new selection images")
    imbalance: str = _field(
        "none",
        "rare classes: none = as they come, weights = of the loss, sampling = seen more often",
        choices=("none", "weights", "sampling"),
    )
    new_share: float = _field(
        0.0, "production images in every epoch of a retrain, 0..1; 0 = as they come", least=0, most=0.99
    )
    augmentation: str = _field("light", "how much images are varied", choices=("none", "light", "medium", "strong"))
    flip: bool = _field(False, "mirror images left to right; leave off where that changes the label, as with digits")
    mixup: float = _field(0.0, "blend pairs of images: Beta's parameter, such as 0.2; 0 = none", least=0)
    cutmix: float = _field(0.0, "paste a piece of one image into another: Beta's parameter; 0 = none", least=0)
    replay_images: int = _field(1000, "old images that go along with every retrain, balanced by class", least=0)
    cache_mb: float = _field(
        1000.0, "most memory for what frozen layers give, megabytes; on disk up to four times that", least=1
    )
    device: str = _field("auto", "where to train", choices=("auto", "cpu", "cuda"))
    devices: int = _field(1, "how many GPUs, each a process", least=1)
    precision: str = _field(
        "auto", "auto = bf16 on a GPU that can; a CPU computes in fp32", choices=("auto", "fp32", "bf16")
    )
    compile: str = _field(
        "auto", "torch.compile; auto = on a GPU, where it proves faster", choices=("auto", "on", "off")
    )
    threads: int = _field(0, "CPU threads; 0 = all cores", least=0)


@dataclass(frozen=True)
class ServeSettings:
    host: str = _field("127.0.0.1", "address to listen on; beyond this machine a token is required")
    port: int = _field(3000, "TCP port", least=1, most=65535)
    workers: int = _field(1, "serving processes; 0 = one for each core that this container may use", least=0)
    provider: str = _field("cpu", "what ONNX Runtime runs on", choices=("cpu", "cuda"))
    threads: int = _field(1, "threads of one forward pass; more than free cores stall each other", least=1)
    keep_images: bool = _field(True, "keep the bytes of predicted images; a label can train only if its image was kept")
    token: str = _field(
        "", "one bearer token with every right; better set as KEDGE_SERVE__TOKEN, best use `kedge token create`"
    )
    most_requests_per_s: float = _field(
        0.0, "requests a second that one token may send on average, a second's worth at once; 0 = any", least=0
    )
    most_body_mb: float = _field(16.0, "largest request body, megabytes", least=0.001)
    most_megapixels: float = _field(
        50.0, "largest image, megapixels, read from its header before decoding", least=0.001
    )
    upload_s: float = _field(20.0, "seconds that sending a body may take", least=0.1)
    deadline_s: float = _field(30.0, "seconds until a request that was not answered is refused", least=0.1)
    drain_s: float = _field(
        1.0, "when asked to stop: seconds of saying 'not ready' before new requests are refused", least=0
    )
    queue_images: int = _field(256, "images that may wait before callers are told to come back", least=1)
    shadow_queue_images: int = _field(64, "answered images that may wait for a shadow; beyond them it skips", least=1)
    batch_images: int = _field(32, "most images in one forward pass", least=1)
    seal_s: float = _field(60.0, "seconds until predictions move from the spool to the tables", least=0.1)
    seal_mb: float = _field(64.0, "megabytes until they do", least=0.01)
    when_disk_full: str = _field(
        "serve", "answer and count what was not logged, or refuse", choices=("serve", "refuse")
    )
    most_spool_mb: float = _field(
        10_000.0, "megabytes of predictions not yet shipped at which the disk counts as full", least=1
    )
    least_free_disk_mb: float = _field(200.0, "below this many free megabytes the disk counts as full", least=0)
    poll_ms: int = _field(250, "how often a worker looks for a new champion, milliseconds", least=20)


@dataclass(frozen=True)
class RetentionSettings:
    predictions_days: float = _field(0.0, "days that predictions are kept; 0 = for ever", least=0)
    labels_days: float = _field(0.0, "days that labels are kept; 0 = for ever", least=0)
    shadows_days: float = _field(90.0, "days that a shadow's answers are kept; 0 = for ever", least=0)
    images_days: float = _field(
        14.0, "days that every image is kept; then a sample, and those labelled or trained on; 0 = for ever", least=0
    )
    image_sample: float = _field(0.02, "share of the older images without a label that stays, 0..1", least=0, most=1)
    most_images_gb: float = _field(100.0, "gigabytes of images; beyond them the least needed go first", least=0.001)
    cron: str = _field(
        "30 3 * * *",
        'when tables are tidied, the ledger is exported and bias audited, in UTC: "30 3 * * *" = daily at 3:30; '
        '"" = never',
    )


@dataclass(frozen=True)
class MonitorSettings:
    window: int = _field(200, "predictions in a window: what is reported and drawn", least=20)
    block: str = _field("1 day", "the longest harmless cycle of your traffic: the unit of slow drift")
    every_s: float = _field(300.0, "seconds between two looks of the watcher", least=1)
    false_alarms_per_quarter: float = _field(1.0, "false drift alarms you accept in three months", least=0.001)
    feedback_is_random: bool = _field(False, "true only if labels arrive for a random sample of predictions")
    harm_tolerance: float = _field(
        0.02, "error above the champion's upper bound that is still fine, 0..1", least=0, most=1
    )
    report_images: int = _field(2000, "most predictions drawn in one Evidently report", least=20)
    silent_after_s: float = _field(900.0, "seconds without a look of the watcher that raise an alarm", least=2)
    burn_in_blocks: int = _field(14, "blocks of traffic before slow drift can be judged", least=5, most=180)
    largest_distance_from_origin: float = _field(
        0.5, "distance from the first training's images that asks a person to confirm, 0..1", least=0, most=1
    )
    evidently_port: int = _field(
        8008, "TCP port of Evidently's own pages, which `kedge up` starts; 0 = without them", least=0, most=65535
    )
    detectors: tuple[str, ...] = _field(
        (), 'drift detectors of your own: "file.py:function" beside this file, or "package.module:function"'
    )


@dataclass(frozen=True)
class LabelSettings:
    per_day: int = _field(20, "labels that people can give a day: as many are asked for", least=0)
    audit_share: float = _field(
        0.4, "of these, the share drawn by chance alone: what estimates rest on, 0.25..1", least=0.25, most=1
    )
    overdue_days: float = _field(7.0, "days after which a label that was asked for counts as not given", least=0.01)


@dataclass(frozen=True)
class TriggerSettings:
    when: str = _field(
        "any(harm, schedule, requested)",
        "what starts a retrain: harm, performance, bias, labels, schedule, requested; joined by any(…), all(…) and "
        "at_least(2, …)",
    )
    retrain_on_harm: bool = _field(True, "let a labelled-harm verdict start a retrain by itself")
    least_accuracy: float = _field(
        0.0,
        "performance: accuracy below which it asks, by labels or by a valid estimate, 0..1; 0 = never",
        least=0,
        most=1,
    )
    most_subgroup_gap: float = _field(
        0.0,
        "bias: points of a rate that a judged subgroup may surely lie behind the rest, 0..1; 0 = never",
        least=0,
        most=1,
    )
    new_labels: int = _field(0, "labels: so many new ones that can train ask for a retrain; 0 = never", least=0)
    least_fresh_labels: int = _field(
        100,
        "labels that came after the champion's training, or a refused candidate's, before anything retrains",
        least=1,
    )
    least_labels_in_changed_region: int = _field(50, "of these, labels from where the change is", least=0)
    least_fresh_labels_per_class: int = _field(0, "of these, of each class that production shows", least=0)
    cooldown_minutes: float = _field(
        60.0,
        "minutes between the end of one retrain and the start of the next; doubles with failures in a row, up to a day",
        least=0,
    )
    most_per_week: int = _field(0, "retrains in any seven days; 0 = any", least=0)
    training_minutes_per_month: float = _field(0.0, "minutes of training in any thirty days; 0 = any", least=0)
    quiet_hours: str = _field("", 'when nothing is to start by itself, in UTC: "22:00-06:00"; "" = never quiet')
    cron: str = _field("", 'schedule: when it asks, as cron has it: "0 3 * * 0" = Sundays at three; "" = never')
    forecast: bool = _field(
        True, "try a tenth of the training first, and spare a job whose gain the gate could not see"
    )
    regimes: bool = _field(True, "try archived versions on the new images before anything is trained")


@dataclass(frozen=True)
class RolloutSettings:
    shadow_predictions: int = _field(
        200, "answers that a candidate gives unseen before it answers anybody; 0 = no shadow", least=0
    )
    canary_predictions: int = _field(
        200, "answers that a candidate then gives to a share of the callers; 0 = no canary", least=0
    )
    canary_share: float = _field(0.1, "that share, over 0 and up to 1", least=0.001, most=1)
    most_stage_minutes: float = _field(
        1440.0,
        "minutes from the first image until a shadow or canary goes on with 30 answers, or ends; a candidate that "
        "waits for labels waits 14 times as long",
        least=0.01,
    )
    least_agreement: float = _field(
        0.5,
        "share of a shadow's answers that agree with the champion's, below which a person has to decide; less is asked "
        "where it is shown to be right and the champion wrong",
        least=0,
        most=1,
    )
    most_latency_ratio: float = _field(
        3.0, "a trial's median forward time, in that of the champion, that ends it", least=1
    )
    probation_minutes: float = _field(
        1440.0, "minutes after a promotion in which labels or errors send the version back by itself; 0 = none", least=0
    )


@dataclass(frozen=True)
class GateSettings:
    min_precision: float = _field(0.5, "floor for every class and overall, 0..1", least=0, most=1)
    min_recall: float = _field(0.5, "floor for every class and overall, 0..1", least=0, most=1)
    overall_margin: float = _field(0.02, "loss of accuracy on old data that must be ruled out, 0..1", least=0, most=1)
    class_margin: float = _field(0.05, "the same for each class and subgroup, 0..1", least=0, most=1)
    required_groups: tuple[str, ...] = _field((), 'groups judged whatever their size, as "camera=A"')
    licences: tuple[str, ...] = _field(
        ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "none"),
        'licences of pretrained weights that may be promoted; "none" = trained from scratch',
    )
    most_latency_ms: float = _field(1000.0, "of one image on one CPU core, milliseconds", least=0)
    most_artifact_mb: float = _field(2000.0, "of the exported model, megabytes", least=0)


@dataclass(frozen=True)
class PrefectSettings:
    api_url: str = _field("", 'a Prefect server of your own; "" = `kedge up` starts one')
    port: int = _field(4200, "TCP port of the server that `kedge up` starts", least=1, most=65535)


@dataclass(frozen=True)
class ConsoleSettings:
    host: str = _field("127.0.0.1", "address the console listens on")
    port: int = _field(3001, "TCP port", least=1, most=65535)


@dataclass(frozen=True)
class NotifySettings:
    webhook: str = _field("", 'alarms are posted here as JSON; "" = only logged')
