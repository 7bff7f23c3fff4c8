"""
The settings: `kedge.toml` plus environment variables, read once into frozen records.

Every field is declared here with its default and a comment that carries its unit; `kedge init` writes both.
"""

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from infra.errors import UserError
from infra.settings_values import nearest, parse_text, typed

FILE_NAME = "kedge.toml"
_PREFIX = "KEDGE_"


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
    cache_mb: float = _field(2000.0, "most memory for what frozen layers give, megabytes", least=1)
    device: str = _field("auto", "where to train", choices=("auto", "cpu", "cuda"))
    devices: int = _field(1, "how many GPUs, each a process", least=1)
    precision: str = _field("auto", "auto = bf16 on a GPU that can", choices=("auto", "fp32", "bf16"))
    compile: str = _field(
        "auto", "torch.compile; auto = on a GPU, where it proves faster", choices=("auto", "on", "off")
    )
    threads: int = _field(0, "CPU threads; 0 = all cores", least=0)


@dataclass(frozen=True)
class ServeSettings:
    host: str = _field("127.0.0.1", "address to listen on; beyond this machine a token is required")
    port: int = _field(3000, "TCP port", least=1, most=65535)
    workers: int = _field(1, "serving processes", least=1)
    keep_images: bool = _field(True, "keep the bytes of predicted images; a label can train only if its image was kept")
    token: str = _field("", "bearer token that callers must send; better set as KEDGE_SERVE__TOKEN")
    most_body_mb: float = _field(16.0, "largest request body, megabytes", least=0.001)
    most_megapixels: float = _field(
        50.0, "largest image, megapixels, read from its header before decoding", least=0.001
    )
    queue_images: int = _field(256, "images that may wait before callers are told to come back", least=1)
    batch_images: int = _field(32, "most images in one forward pass", least=1)
    seal_s: float = _field(60.0, "seconds until predictions move from the spool to the tables", least=0.1)
    seal_mb: float = _field(64.0, "megabytes until they do", least=0.01)
    when_disk_full: str = _field(
        "serve", "answer and count what was not logged, or refuse", choices=("serve", "refuse")
    )
    least_free_disk_mb: float = _field(200.0, "below this many free megabytes the disk counts as full", least=0)
    poll_ms: int = _field(250, "how often a worker looks for a new champion, milliseconds", least=20)


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


@dataclass(frozen=True)
class TriggerSettings:
    retrain_on_harm: bool = _field(True, "let a labelled-harm verdict start a retrain by itself")
    least_fresh_labels: int = _field(
        100, "labels that came after the champion's training before anything retrains", least=1
    )
    least_labels_in_changed_region: int = _field(50, "of these, labels from where the change is", least=0)
    cooldown_minutes: float = _field(60.0, "minutes between the end of one retrain and the start of the next", least=0)
    cron: str = _field("", 'also retrain on this schedule, as cron has it: "0 3 * * 0" = Sundays at three; "" = never')


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


@dataclass(frozen=True)
class Settings:
    """All settings of one project; paths are absolute, and `storage` URLs are filled in."""

    root: Path
    project: ProjectSettings = ProjectSettings()
    storage: StorageSettings = StorageSettings()
    data: DataSettings = DataSettings()
    model: ModelSettings = dataclasses.field(default_factory=ModelSettings)
    train: TrainSettings = TrainSettings()
    serve: ServeSettings = ServeSettings()
    monitor: MonitorSettings = MonitorSettings()
    trigger: TriggerSettings = TriggerSettings()
    gate: GateSettings = GateSettings()
    prefect: PrefectSettings = PrefectSettings()
    console: ConsoleSettings = ConsoleSettings()
    notify: NotifySettings = NotifySettings()


SECTIONS: dict[str, type] = {
    "project": ProjectSettings, "storage": StorageSettings, "data": DataSettings, "model": ModelSettings,
    "train": TrainSettings, "serve": ServeSettings, "monitor": MonitorSettings, "trigger": TriggerSettings,
    "gate": GateSettings, "prefect": PrefectSettings, "console": ConsoleSettings, "notify": NotifySettings,
}  # fmt: skip


def load(root: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """
    Read `root/kedge.toml` (defaults where it is missing) and the `KEDGE_SECTION__FIELD` variables.

    Raises:
        UserError: names every mistake at once, with the nearest known name.
    """
    folder = (root or Path.cwd()).resolve()
    mistakes: list[str] = []
    values = _from_file(folder / FILE_NAME, mistakes)
    origins = _override(values, os.environ if environ is None else environ, mistakes)
    sections = {name: _section(name, values.get(name, {}), origins, mistakes) for name in SECTIONS}
    if mistakes:
        listed = "\n".join(f"  {mistake}" for mistake in mistakes)
        raise UserError(f"The settings in {folder / FILE_NAME} cannot be used:\n{listed}")
    return _complete(Settings(root=folder, **sections))


def default_toml() -> str:
    """A `kedge.toml` with every setting at its default and a comment with its unit."""
    lines = [
        "# Settings of this Kedge project. Every value below is the default.",
        "# An environment variable KEDGE_SECTION__FIELD overrides one, as in KEDGE_SERVE__PORT=8080.",
    ]
    for name, record in SECTIONS.items():
        lines += ["", f"[{name}]"]
        for field in dataclasses.fields(record):
            default = getattr(record(), field.name)
            choices = field.metadata["choices"]
            options = f" ({', '.join(choices)})" if choices else ""
            lines.append(f"{field.name} = {_toml(default)}  # {field.metadata['comment']}{options}")
    return "\n".join(lines) + "\n"


def _from_file(path: Path, mistakes: list[str]) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        # Some editors begin a file with a byte order mark, which TOML does not know.
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not valid TOML: {error}. Mend that place; `kedge init FOLDER` writes a valid file to compare."
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Expected a file of settings.") from error
    values: dict[str, dict[str, Any]] = {}
    for section, content in document.items():
        if section not in SECTIONS:
            mistakes.append(f"[{section}] is not a section{nearest(section, SECTIONS)}")
        elif not isinstance(content, dict):
            mistakes.append(f"{section} should be a section, [{section}]; found {content!r}")
        else:
            values[section] = dict(content)
    return values


def _override(
    values: dict[str, dict[str, Any]], environ: Mapping[str, str], mistakes: list[str]
) -> dict[tuple[str, str], str]:
    """Put the variables in place; gives back which setting came from which, for mistakes to name it."""
    origins = {}
    for variable, text in sorted(environ.items()):
        section, separator, name = variable.removeprefix(_PREFIX).lower().partition("__")
        if not variable.startswith(_PREFIX):
            continue
        if not separator:
            mistakes += _with_one_underscore(variable)
            continue
        if section not in SECTIONS:
            mistakes.append(f"{variable}: '{section}' is not a section{nearest(section, SECTIONS)}")
            continue
        known = {field.name: field for field in dataclasses.fields(SECTIONS[section])}
        values.setdefault(section, {})[name] = parse_text(text, known[name]) if name in known else text
        origins[section, name] = f"{variable}: "
    return origins


def _with_one_underscore(variable: str) -> list[str]:
    """A mistake where KEDGE_SERVE_PORT was written for KEDGE_SERVE__PORT; other variables may have other uses."""
    for section, record in SECTIONS.items():
        for field in dataclasses.fields(record):
            if variable == f"{_PREFIX}{section}_{field.name}".upper():
                meant = f"{_PREFIX}{section}__{field.name}".upper()
                return [f"{variable} is not a setting; did you mean {meant}?"]
    return []


def _section(
    section: str, values: Mapping[str, Any], origins: Mapping[tuple[str, str], str], mistakes: list[str]
) -> Any:
    record = SECTIONS[section]
    known = {field.name: field for field in dataclasses.fields(record)}
    accepted: dict[str, Any] = {}
    for name, value in values.items():
        origin = origins.get((section, name), "")
        if name not in known:
            mistakes.append(f"{origin}{section}.{name} is not a setting{nearest(name, known)}")
            continue
        try:
            accepted[name] = typed(value, known[name])
        except ValueError as error:
            mistakes.append(f"{origin}{section}.{name} {error}")
    return record(**accepted)


def _complete(settings: Settings) -> Settings:
    home = (settings.root / settings.storage.home).resolve()
    storage = dataclasses.replace(
        settings.storage,
        home=home,
        database=settings.storage.database or f"sqlite:///{home / 'kedge.db'}",
        objects=_objects_url(settings.storage.objects, settings.root, home),
    )
    data = dataclasses.replace(settings.data, manifest=(settings.root / settings.data.manifest).resolve())
    return dataclasses.replace(settings, storage=storage, data=data)


def _objects_url(text: str, root: Path, home: Path) -> str:
    if not text:
        return f"file://{quote(str(home / 'objects'))}"
    return text if urlsplit(text).scheme else f"file://{quote(str((root / text).resolve()))}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, dict):
        return "{}"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
