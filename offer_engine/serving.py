"""Who decides for a subject: the merchant's own priorities, a model that is on its way, or chance.

What holds:
 1. Chance decides for the share of subjects that a brand holds out, the same ones each time; where it holds out none, for none.
 2. A model decides for the share of its stage (judging/promotion.py), where the newest line of the brand's history names one
    that is not rolled back; the priorities decide for all others.
 3. A model that is missing, damaged, of a kind that cannot serve, fails, or gives no whole vector decides nothing: the
    priorities do, and the decision's record names the model whose turn it was. One that took longer than SLOW_SECONDS rests
    in this process, and it is the same for its turns meanwhile: FIRST_REST_SECONDS, and twice as long each time that it is slow
    again, REST_SECONDS at most. So a pause of the machine costs a model few turns, and one that is always slow most of them.
 4. The history is read again after LOOK_SECONDS: a rollback holds from then on in every process, without a restart. One that
    cannot be read gives no model traffic.
 5. No decision waits for a model. One that came up since is loaded beside, and decides once it is there; until then the
    priorities do. ``warm`` loads what serves before a process takes its first request.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock, Thread
from typing import Final

import structlog

from offer_engine.decide import Catalogue, Decision, Ranker, decide
from offer_engine.exploration import Exploration
from offer_engine.features import SchemaRefused
from offer_engine.judging.promotion import SHARE_PERCENT, Side, Stage, side
from offer_engine.learning.linear import ModelInvalid
from offer_engine.learning.rankers import ModelRanker, load_ranker
from offer_engine.learning.registry import Change, ModelKind, ModelMissing, Registry
from offer_engine.offers import Context
from offer_engine.rank import ChanceRanker, PriorityRanker

LOOK_SECONDS: Final = 10.0
SLOW_SECONDS: Final = 0.25
FIRST_REST_SECONDS: Final = 1.0
REST_SECONDS: Final = 30.0
_WHOLE: Final = 1e-6
PRIORITIES: Final = PriorityRanker()
CHANCE: Final = ChanceRanker()
log = structlog.get_logger("offer_engine")


class StandIn(PriorityRanker):
    """The priorities, where it is the turn of a model that cannot decide (3)."""

    def __init__(self, model: str) -> None:
        self.model = model


class _NoWholeVector(Exception):
    """A model's probabilities do not sum to 1: no draw from them means anything."""


def in_thread(work: Callable[[], None]) -> None:
    """Does it beside whoever asks."""
    Thread(target=work, name="offer-model", daemon=True).start()


@dataclass(frozen=True, slots=True)
class _Seen:
    """A brand's model and its stage, as the history had it. Without a ranker the model could not be loaded."""

    until_seconds: float
    model: str
    ranker: ModelRanker | None
    stage: Stage


@dataclass(slots=True)
class Rankers:
    """The rankers of every brand. ``directory`` holds a registry for each, ``directory/BRAND``; without it no model serves.

    It may be asked by many threads. ``beside`` starts the loading of a model.
    """

    directory: Path | None
    now_seconds: Callable[[], float]
    exploration: Exploration = field(default_factory=Exploration)
    beside: Callable[[Callable[[], None]], None] = in_thread
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _loaded: dict[str, ModelRanker] = field(default_factory=dict)
    _loading: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)
    _rests_until: dict[str, float] = field(default_factory=dict)
    _rested_seconds: dict[str, float] = field(
        default_factory=dict
    )  # by models that were slow when they were asked last

    def of(self, brand: str, subject: str, hold_out_percent: float) -> Ranker:
        """Who decides for this subject (1) (2)."""
        seen = self._look(brand)
        chosen = side(subject, seen.model, seen.stage, hold_out_percent)
        if chosen is Side.HOLD_OUT:
            return CHANCE
        if chosen is Side.INCUMBENT:
            return PRIORITIES
        if seen.ranker is None or self.now_seconds() < self._rests_until.get(seen.model, 0.0):
            return StandIn(seen.model)
        return seen.ranker

    def decide(self, ranker: Ranker, context: Context, offers: Catalogue, draw: float) -> Decision:
        """The decision of who ``of`` named, or of the priorities where that one cannot (3)."""
        if isinstance(ranker, ModelRanker):
            try:
                return self._by_model(ranker, context, offers, draw)
            except Exception as failure:  # noqa: BLE001  # whatever it is, the shopper gets the priorities' offer
                log.error("model_failed", model=ranker.model_hash[:16], cause=type(failure).__name__)
                ranker = StandIn(ranker.model_hash)
        decision = decide(context, offers, ranker, draw)
        return replace(decision, fell_back=ranker.model) if isinstance(ranker, StandIn) else decision

    def _by_model(self, ranker: ModelRanker, context: Context, offers: Catalogue, draw: float) -> Decision:
        began_seconds = self.now_seconds()
        decision = decide(context, offers, ranker, draw)
        if not abs(math.fsum(scored.propensity for scored in decision.ranked) - 1) < _WHOLE:
            raise _NoWholeVector
        ended_seconds = self.now_seconds()
        if ended_seconds - began_seconds > SLOW_SECONDS:
            self._rest(ranker.model_hash, ended_seconds)
        else:
            self._rested_seconds.pop(ranker.model_hash, None)
        return decision

    def _rest(self, model: str, now_seconds: float) -> None:
        """(3)"""
        rest_seconds = min(2 * self._rested_seconds.get(model, FIRST_REST_SECONDS / 2), REST_SECONDS)
        self._rested_seconds[model] = rest_seconds
        self._rests_until[model] = now_seconds + rest_seconds
        log.warning("model_slow", model=model[:16], rests_seconds=rest_seconds)

    def named(self, brand: str, policy: str) -> Ranker | None:
        """The ranker that a record names, or None where it is not here any more."""
        for ranker in (PRIORITIES, CHANCE):
            if policy == f"{ranker.name}:{ranker.version}":
                return ranker
        registry = self.registry(brand)
        kind, _, beginning = policy.partition(":")
        if registry is None or kind not in _KINDS:
            return None
        try:
            name = registry.find(beginning)
        except ModelMissing:
            return None
        serving = self._loaded.get(brand)
        return serving if serving is not None and serving.model_hash == name else self._load(registry, name)

    def warm(self) -> None:
        """Loads what serves, for every brand (5)."""
        for folder in sorted(self.directory.iterdir()) if self.directory and self.directory.is_dir() else ():
            registry = Registry(folder)
            if (newest := _newest(registry)) and (ranker := self._load(registry, newest.model)):
                self._loaded[folder.name] = ranker

    def serving(self, brand: str) -> ModelRanker | None:
        """The model that has traffic, or None. It waits until it is loaded: for pages, never for a decision.

        Raises ModelMissing, ModelInvalid, ExtraMissing, SchemaRefused, OSError where it cannot be.
        """
        registry = self.registry(brand)
        newest = _newest(registry) if registry is not None else None
        return load_ranker(registry, newest.model, self.exploration) if registry is not None and newest else None

    def registry(self, brand: str) -> Registry | None:
        """The brand's registry; None where no model serves."""
        return None if self.directory is None else Registry(self.directory / brand)

    def _look(self, brand: str) -> _Seen:
        now_seconds = self.now_seconds()
        seen = self._seen.get(brand)
        if seen is None or seen.until_seconds <= now_seconds:
            seen = self._seen[brand] = self._looked(brand, now_seconds + LOOK_SECONDS)  # (4)
            if seen.ranker is None and seen.stage is not Stage.ROLLED_BACK:
                self._fetch(brand)
                seen = self._seen.get(brand, seen)
        return seen

    def _looked(self, brand: str, until_seconds: float) -> _Seen:
        registry = self.registry(brand)
        newest = _newest(registry) if registry is not None else None
        if newest is None:
            return _Seen(until_seconds, "", None, Stage.ROLLED_BACK)
        ranker = self._loaded.get(brand)
        loaded = ranker if ranker and ranker.model_hash == newest.model else None
        return _Seen(until_seconds, newest.model, loaded, Stage(newest.stage))

    def _fetch(self, brand: str) -> None:
        """Has the brand's newest model loaded, once at a time (5)."""
        with self._lock:
            if brand in self._loading:
                return
            self._loading.add(brand)
        self.beside(lambda: self._fetched(brand))

    def _fetched(self, brand: str) -> None:
        try:
            registry = self.registry(brand)
            newest = _newest(registry) if registry is not None else None
            ranker = self._load(registry, newest.model) if registry is not None and newest is not None else None
            if ranker is not None:
                self._loaded[brand] = ranker
                self._seen[brand] = self._looked(brand, self.now_seconds() + LOOK_SECONDS)
        finally:
            self._loading.discard(brand)

    def _load(self, registry: Registry, name: str) -> ModelRanker | None:
        """(3)"""
        try:
            return load_ranker(registry, name, self.exploration)
        except (ModelMissing, ModelInvalid, SchemaRefused, OSError) as failure:
            log.error("model_not_loaded", model=name[:16], cause=type(failure).__name__)
            return None


_KINDS: Final = frozenset(kind.name.lower() for kind in ModelKind)


def _newest(registry: Registry) -> Change | None:
    """The newest line of the history where it gives a model a share, or None; also where the history cannot be read (4)."""
    try:
        history = registry.history()
        return history[-1] if history and SHARE_PERCENT[Stage(history[-1].stage)] else None
    except (ValueError, OSError) as failure:  # damaged, or a stage of a later version
        log.error("history_not_read", brand=registry.directory.name, cause=type(failure).__name__)
        return None
