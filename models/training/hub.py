"""Whether the hub of pretrained weights can be reached, found out in seconds."""

import os
import socket
import urllib.request
from urllib.parse import urlsplit

from models.training.plan import TrainingPlan

FETCHED = ("timm", "timm-if-reachable")  # starts whose weights come from the hub, or from its cache
_CONNECT_S = 3.0
_HUB = "https://huggingface.co"


def stay_offline_without_network(plan: TrainingPlan) -> None:
    """
    Look once, for at most three seconds, whether pretrained weights can be fetched; if not, say so to the hub.

    Left to itself the hub's client repeats for 47 s before it gives up. To be called before timm is imported,
    for the client reads the variable then; weights in its cache are still found.
    """
    if plan.start in FETCHED and plan.strategy != "scratch" and not _hub_answers():
        os.environ["HF_HUB_OFFLINE"] = "1"


def _hub_answers() -> bool:
    hub = urlsplit(os.environ.get("HF_ENDPOINT", _HUB))
    by_way_of = urllib.request.getproxies().get(hub.scheme)
    address = urlsplit(by_way_of) if by_way_of else hub
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), timeout=_CONNECT_S).close()
    except (OSError, ValueError):
        return False
    return True
