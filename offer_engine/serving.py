"""Who decides for a subject: the merchant's own priorities, a model that is on its way, or chance.

What holds:
 1. Chance decides for the share of subjects that a brand holds out, the same ones each time; where it holds out none, for none.
 2. A model decides for the share of its stage (judging/promotion.py), where the newest line of the brand's history names one
    that is not rolled back; the priorities decide for all others.
 3. A model that is missing, damaged, or of a kind that cannot serve decides nothing: the priorities do, and the log says so.
 4. The history is read again after LOOK_SECONDS: a rollback holds from then on in every process, without a restart.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from offer_engine.decide import Ranker
from offer_engine.exploration import Exploration
from offer_engine.judging.promotion import SHARE_PERCENT, Side, Stage, side
from offer_engine.learning.linear import ModelInvalid
from offer_engine.learning.rankers import LinearRanker
from offer_engine.learning.registry import ModelKind, ModelMissing, Registry
from offer_engine.rank import ChanceRanker, PriorityRanker

LOOK_SECONDS: Final = 10.0
PRIORITIES: Final = PriorityRanker()
CHANCE: Final = ChanceRanker()
log = structlog.get_logger("offer_engine")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A brand's model and its stage, as the history had it."""

    until_seconds: float
    ranker: LinearRanker | None
    stage: Stage


@dataclass(slots=True)
class Rankers:
    """The rankers of every brand. ``directory`` holds a registry for each, ``directory/BRAND``; without it no model serves."""

    directory: Path | None
    now_seconds: Callable[[], float]
    exploration: Exploration = field(default_factory=Exploration)
    _seen: dict[str, _Seen] = field(default_factory=dict)

    def of(self, brand: str, subject: str, hold_out_percent: float) -> Ranker:
        """Who decides for this subject (1) (2)."""
        seen = self._look(brand)
        name = seen.ranker.model_hash if seen.ranker is not None else ""
        chosen = side(subject, name, seen.stage, hold_out_percent)
        if chosen is Side.HOLD_OUT:
            return CHANCE
        return seen.ranker if chosen is Side.MODEL and seen.ranker is not None else PRIORITIES

    def named(self, brand: str, policy: str) -> Ranker | None:
        """The ranker that a record names, or None where it is not here any more."""
        for ranker in (PRIORITIES, CHANCE):
            if policy == f"{ranker.name}:{ranker.version}":
                return ranker
        registry = self._registry(brand)
        if registry is None or not policy.startswith("linear:"):
            return None
        try:
            return self._load(registry, registry.find(policy.removeprefix("linear:")))
        except ModelMissing:
            return None

    def _registry(self, brand: str) -> Registry | None:
        return None if self.directory is None else Registry(self.directory / brand)

    def _look(self, brand: str) -> _Seen:
        now_seconds = self.now_seconds()
        seen = self._seen.get(brand)
        if seen is None or seen.until_seconds <= now_seconds:
            ranker, stage = self._newest(brand)
            seen = self._seen[brand] = _Seen(now_seconds + LOOK_SECONDS, ranker, stage)  # (4)
        return seen

    def _newest(self, brand: str) -> tuple[LinearRanker | None, Stage]:
        registry = self._registry(brand)
        history = registry.history() if registry is not None else []
        if registry is None or not history or not SHARE_PERCENT[Stage(history[-1].stage)]:
            return None, Stage.ROLLED_BACK
        ranker = self._load(registry, history[-1].model)
        return ranker, Stage(history[-1].stage) if ranker is not None else Stage.ROLLED_BACK

    def _load(self, registry: Registry, name: str) -> LinearRanker | None:
        """(3)"""
        known = next(
            (seen.ranker for seen in self._seen.values() if seen.ranker and seen.ranker.model_hash == name), None
        )
        if known is not None:
            return known
        try:
            if registry.card(name).kind is not ModelKind.LINEAR:
                log.error("model_cannot_serve", model=name[:16])
                return None
            return LinearRanker.load(registry, name, self.exploration)
        except (ModelMissing, ModelInvalid) as failure:
            log.error("model_not_loaded", model=name[:16], cause=type(failure).__name__)
            return None
