"""Callers that send without a pause and remember what they were told, to be compared with what was kept."""

import random
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil

from infra.objects import open_objects
from monitoring.prediction_log import PredictionLog, image_key
from service import commands
from service.segments import DAMAGED, OPEN, SEALED
from tests.service.cards import Place, picture

JPEG = {"Content-Type": "image/jpeg"}
_LABEL_EVERY = 10


@dataclass(frozen=True)
class Card:
    """An image and what the model says about it."""

    data: bytes
    label: str


def cards(count: int = 60, seed: int = 0) -> list[Card]:
    """Cards of many slightly different colours, so that the log keeps many different images."""
    chance = random.Random(seed)
    colours = {
        "dark": lambda: (chance.randrange(40), chance.randrange(40), chance.randrange(40)),
        "light": lambda: (chance.randrange(215, 256), chance.randrange(215, 256), chance.randrange(215, 256)),
        "red": lambda: (chance.randrange(215, 256), chance.randrange(40), chance.randrange(40)),
    }
    labels = list(colours)
    return [Card(picture(colours[labels[n % 3]]()), labels[n % 3]) for n in range(count)]


@dataclass(frozen=True)
class Refused:
    """A request that the service answered with an error."""

    status: int
    code: str
    retry_after: str | None


class Traffic:
    """
    Predictions, and a label for every tenth of them, until `stop` or the end of the `with` block.

    Attributes:
        answered: id to the answered label; only what a caller has read to its end.
        labelled: ids whose label was confirmed.
        refused: requests answered with an error.
        broken: requests without any answer.
        wrong: answers that were not the card's.
    """

    def __init__(self, url: str, callers: int = 4, *, labels: bool = True) -> None:
        self.answered: dict[str, str] = {}
        self.labelled: dict[str, None] = {}
        self.refused: list[Refused] = []
        self.broken: list[str] = []
        self.wrong: list[str] = []
        self._url, self._labels, self._stop = url, labels, threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(callers)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def summary(self) -> str:
        refusals = Counter((one.status, one.code) for one in self.refused)
        return (
            f"{len(self.answered)} answered, {len(self.labelled)} labelled, refused {dict(refusals)}, "
            f"{len(self.broken)} without an answer"
        )

    def _send(self, caller: int) -> None:
        deck = cards(seed=caller)
        with httpx.Client(base_url=self._url, timeout=30) as http:
            for number, card in enumerate(_for_ever(deck)):
                if self._stop.is_set():
                    return
                answer = self._asked(http, "/v1/predict", content=card.data, headers=JPEG)
                if answer is None:
                    # A refused connection takes no time at all; the cores are for the one who has to come back.
                    self._stop.wait(0.1)
                    continue
                self.answered[answer["id"]] = answer["label"]
                if answer["label"] != card.label:
                    self.wrong.append(f"{answer['id']} is {card.label}, was called {answer['label']}")
                label = {"id": answer["id"], "label": card.label, "labelled_by": f"caller {caller}"}
                if self._labels and number % _LABEL_EVERY == 0 and self._asked(http, "/v1/feedback", json=label):
                    self.labelled[answer["id"]] = None

    def _asked(self, http: httpx.Client, path: str, **request):
        try:
            response = http.post(path, **request)
        except httpx.TransportError as error:
            self.broken.append(repr(error))
            return None
        if response.is_success:
            return response.json()
        self.refused.append(refusal(response))
        return None


def refusal(response: httpx.Response) -> Refused:
    """An error as the service tells it; the code is "not ours" where somebody else answered."""
    try:
        code = response.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        code = "not ours"
    return Refused(response.status_code, code, response.headers.get("retry-after"))


def check_the_books(place: Place, traffic: Traffic, *, relabelled: frozenset[str] = frozenset()) -> None:
    """
    Ship what is left, then: everything answered and labelled is found exactly once, each image with its bytes.

    Args:
        relabelled: ids that were labelled more often, by somebody else.
    """
    ship_once(place)
    log = PredictionLog(place.settings.storage)
    predictions = log.predictions.scan()
    rows = (
        [] if predictions is None else predictions.select("id", "label", "image_sha256", "image_kept").collect().rows()
    )
    labels = log.labels.scan()
    notes = [] if labels is None else labels.select("id").collect()["id"].to_list()
    found, told = Counter(row[0] for row in rows), {row[0]: row[1] for row in rows}
    missing = traffic.answered.keys() - found.keys()
    twice = [identifier for identifier, count in found.items() if count > 1]
    twice += [identifier for identifier, count in Counter(notes).items() if count > 1 and identifier not in relabelled]
    objects = open_objects(place.settings.storage)
    print(f"\n{traffic.summary()}; {len(rows)} rows, {len(missing)} missing, {len(twice)} twice")

    assert traffic.answered
    assert not missing
    assert not twice
    assert {identifier: told[identifier] for identifier in traffic.answered} == traffic.answered
    assert not traffic.labelled.keys() - set(notes)
    assert all(objects.exists(image_key(digest)) for digest in {row[2] for row in rows if row[3]})
    assert [path.name for end in (SEALED, OPEN, DAMAGED) for path in place.spool.glob(f"*/*{end}")] == []
    assert traffic.wrong == []
    # Whoever was not answered was told so by the service, with a time to come back, and for one of two good reasons.
    assert {(one.status, one.code) for one in traffic.refused} <= {(503, "no_model"), (503, "stopping")}
    assert all(float(one.retry_after or 0) >= 1 for one in traffic.refused)


def configure(place: Place, **serve: float | str) -> None:
    """Set fields of `[serve]`, which is the last section; before anything is started."""
    toml = place.settings.root / "kedge.toml"
    kept = [line for line in toml.read_text().splitlines() if line.partition(" ")[0] not in serve]
    toml.write_text("\n".join([*kept, *(f"{name} = {value}" for name, value in serve.items()), ""]))


def ship_once(place: Place) -> None:
    child = commands.shipper(place.settings)
    argv = [sys.executable, "-m", "service.shipper", "--once"]
    subprocess.run(argv, env=dict(child.env), cwd=child.folder, check=True, timeout=120)


def resident_mb(process: int) -> float:
    """Memory that a process holds now."""
    return psutil.Process(process).memory_info().rss / 1e6


def peak_mb(process: int) -> float:
    """The most memory that a process held since `forget_peak`."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def forget_peak(process: int) -> None:
    Path(f"/proc/{process}/clear_refs").write_text("5")


def _for_ever(deck: list[Card]):
    while True:
        yield from deck
