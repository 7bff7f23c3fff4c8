"""Measuring blocks beside the champion's profile, anew where the champion or its profile is another one."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from infra.errors import UserError
from infra.objects import ObjectMissing
from models.registry import ModelVersion
from models.runtime import Runtime
from monitoring.blocks.cutting import SIZES, Block, Measured
from monitoring.blocks.distances import BlockReference, distances, origin_distances, reference_of
from monitoring.blocks.rescoring import Rescored, rescore, unanswered
from monitoring.blocks.rows import load_origin
from monitoring.blocks.sample import BlockSample, sample_key
from monitoring.reference.profile import ReferenceProfile
from monitoring.signals import atypical
from monitoring.watching.place import WatchPlace

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bench:
    """What blocks are measured with; each part is made when it is first needed, and once."""

    place: WatchPlace
    champion: ModelVersion
    profile: ReferenceProfile

    @cached_property
    def origin(self) -> ReferenceProfile | None:
        """What the first training's images look like to the champion; None where that is not known."""
        return load_origin(self.place.engine, self.place.objects, self.place.name, self.champion.version)

    @cached_property
    def reference(self) -> BlockReference:
        return reference_of(self.profile)

    @cached_property
    def origin_reference(self) -> BlockReference | None:
        return None if self.origin is None else reference_of(self.origin)

    @cached_property
    def runtime(self) -> Runtime | None:
        """The champion, ready to answer; None where it cannot be run here, which the log says."""
        try:
            folder = self.place.registry.fetch(self.champion.version, self.place.settings.storage.home / "versions")
            return Runtime.open(folder)
        except UserError as error:
            _log.warning("Earlier blocks cannot be scored anew by %s: %s", self.champion.title, error)
            return None

    def measured(self, sample: BlockSample, epoch: int, not_kept: int = 0) -> Measured:
        """The sample beside the profile and the origin."""
        batch = sample.batch(self.profile)
        scored = atypical(self.profile, batch)
        shares = {name: float(np.nanmean(values)) for name, values in scored.items() if np.isfinite(values).any()}
        return Measured(
            epoch=epoch,
            distances={size: distances(self.reference, batch, size) for size in SIZES if len(sample) >= size},
            atypical=shares,
            from_origin=self._from_origin(sample),
            not_kept=not_kept,
        )

    def measured_anew(self, block: Block, epoch: int) -> Block | None:
        """The block as the champion sees it, its sample stored under the epoch; None where its sample is lost."""
        sample = self.sample_of(block)
        if sample is None:
            return None
        answered = Rescored(sample, 0)
        if sample.version != self.champion.version:
            runtime = self.runtime
            answered = (
                unanswered(sample, self.profile)
                if runtime is None
                else rescore(sample, runtime, self.place.objects, self.profile)
            )
        return self.stored(block, answered.sample, epoch, answered.not_kept)

    def sample_of(self, block: Block) -> BlockSample | None:
        """What was kept of the block; None where it is lost, which the log says."""
        try:
            return BlockSample.from_bytes(self.place.objects.get(block.sample_key))
        except ObjectMissing:
            _log.warning("The sample of block %d is not in the object store; the block leaves the pool", block.number)
            return None

    def stored(self, block: Block, sample: BlockSample, epoch: int, not_kept: int = 0) -> Block:
        """The block with this sample, measured, and the sample in the object store."""
        key = sample_key(self.place.name, block.number, epoch)
        self.place.objects.put(key, sample.to_bytes())
        measured = self.measured(sample, epoch, not_kept)
        return replace(block, model_version=self.champion.version, measured=measured, sample_key=key)

    def _from_origin(self, sample: BlockSample) -> Mapping[str, float]:
        if self.origin is None or self.origin_reference is None:
            return {}
        return origin_distances(self.origin_reference, sample.batch(self.origin))
