import json, time, shutil, os, threading
from dataclasses import replace
import pytest
from infra.ledger import Ledger
from models import rollouts
from models.rollouts import CANARY
from models.artifact import read_artifact, write_artifact
from service.live_model import LiveModel
from tests.service.cards import write_candidate, wait_for, picture
from models.golden import golden_of
from models.runtime import Runtime, Graph
import service.live_model as lm
from service.spool import *
from pathlib import Path
import service.spool as sp

def test_mismatch(place, tmp_path):
    place.champion()
    folder = write_candidate(tmp_path/"other", sharpness=3.0)
    art = read_artifact(folder)
    write_artifact(replace(art, classes=("a","b","c")), folder)
    v = place.registry.register(folder, reason="test", parent_version=None).version
    rollouts.start(place.registry.engine, "cards", CANARY, v, share=1.0, actor="test", reason="test")
    live = LiveModel(place.settings, "s-0")
    for _ in range(4):
        live.look(); time.sleep(1.05)
    print([ (r.kind, r.facts) for r in Ledger(place.registry.engine).rows("serving")])
    live.close()
    assert len(Ledger(place.registry.engine).rows("serving")) == 1

def test_store_away_restart(place):
    place.champion()
    live = LiveModel(place.settings, "s-0"); live.look(); assert live.current; live.close()
    objs = place.settings.storage.home/"objects"
    objs.rename(objs.with_suffix(".away"))
    objs.write_text("x")
    live = LiveModel(place.settings, "s-0"); live.look(); print(live.error); c = live.current; live.close()
    assert c

def test_mirror_fails(place, monkeypatch):
    place.champion()
    seen=[]
    live = LiveModel(place.settings, "s-0", on_change=lambda l: seen.append(l.current.version))
    live.look()
    place.champion(sharpness=4.0)
    def boom(*a): raise OSError(28,"full")
    monkeypatch.setattr(lm, "write_mirror", boom)
    for _ in range(3):
        try: live.look()
        except OSError: pass
    live.close()
    assert seen == [1,2]

def test_rename(tmp_path, monkeypatch):
    spool = Spool(tmp_path, SpoolLimits(least_free_bytes=0, seal_s=1e9, seal_bytes=20))
    real = Path.rename; n=[0]
    def once(self, t):
        if n[0]==0 and str(t).endswith(".sealed"):
            n[0]=1; raise OSError(28,"full")
        return real(self,t)
    monkeypatch.setattr(Path,"rename",once)
    spool.write([Frame(PREDICTION,b"x"*30)])
    spool.write([Frame(PREDICTION,b"y"*30)])
    print(sorted(p.name for p in spool.folder.iterdir()))
    spool.close()
    assert not list(spool.folder.glob("*.open"))

def test_seq(tmp_path):
    (tmp_path/"sequence").write_bytes(b"\0"*20)
    next_sequence(tmp_path)
