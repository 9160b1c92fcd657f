"""From an exported log to a model that serves: trained, judged on others, reported, promoted, rolled back; or refused."""

import gzip
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from offer_engine import cli
from offer_engine.cli import main
from offer_engine.exploration import Exploration
from offer_engine.features import ALLOWED, DEFAULT_SCHEMA, SOURCES
from offer_engine.judging.estimators import Estimator
from offer_engine.judging.guards import Comparison
from offer_engine.judging.intervals import Interval
from offer_engine.judging.judge import Judgement, Verdict
from offer_engine.judging.plots import Bar, curves, forest
from offer_engine.judging.promotion import Measured, Reason, Stage
from offer_engine.judging.report import render_report
from offer_engine.judging.standing import WORDS
from offer_engine.judging.support import Refusal
from offer_engine.learning import cards
from offer_engine.learning.cards import code_hash
from offer_engine.learning.log import Reading
from offer_engine.learning.registry import Card, Change, ModelKind, Registry
from offer_engine.learning.rewards import DAY_MS, RewardRule
from offer_engine.market import NOW_MS, FixedPlayer, Market, Player, Shape, lines
from tests.offer_engine.stages import HOUR_MS, Staged, fixed
from tests.offer_engine.test_rankers import ABOUT, MODEL

AS_OF = str(NOW_MS + 300 * DAY_MS)
SHAPE = Shape(arms=3, rounds=16_000, subjects=4_000)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files of a log, the second one packed."""
    folder = tmp_path_factory.mktemp("log")
    written = list(lines(Market.made(SHAPE, seed=11), Player(), seed=5))
    first, second = folder / "a.jsonl", folder / "b.jsonl.gz"
    first.write_text("\n".join(written[:8_000]) + "\n", encoding="utf-8")
    second.write_bytes(gzip.compress("\n".join(written[8_000:]).encode(), compresslevel=1))
    return [first, second]


@pytest.fixture(scope="module")
def registry(log: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry with a model of the log."""
    folder = tmp_path_factory.mktemp("registry")
    assert main(["train", *map(str, log), "--registry", str(folder), "--as-of", AS_OF, "--jobs", "1"]) == 0
    return Registry(folder)


def run(command: str, log: list[Path], registry: Registry, *more: str) -> int:
    model = registry.cards()[0].model[:12]
    where = ["--registry", str(registry.directory), "--as-of", AS_OF, "--model", model]
    return main([command, *map(str, log), *where, *more])


def test_training_says_what_it_learned_from_and_writes_a_card(registry: Registry) -> None:
    [card] = registry.cards()
    assert 10_000 < card.decisions < 12_500
    assert card.decisions + card.left_out["kept_for_judging"] == 16_000
    assert (card.offers, card.kind, card.schema_hash) == (3, ModelKind.LINEAR, DEFAULT_SCHEMA.hash)
    assert NOW_MS == card.data_from_ms < card.data_until_ms


def test_a_card_says_what_a_reviewer_asks_and_reads_as_text(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    [card] = registry.cards()
    assert main(["card", card.model[:12], "--registry", str(registry.directory)]) == 0
    text = capsys.readouterr().out
    assert sum(decisions for decisions, _ in card.by_offer.values()) == card.decisions
    assert card.metrics["rmse"] < card.metrics["rmse_of_the_mean"]
    assert sum(row[2] for row in card.calibration) == card.metrics["held_out_rows"] == card.left_out["kept_for_judging"]
    assert (card.lines, card.code_hash, card.machines) == (16_000, code_hash(), 1)
    for said in (card.model, "2026-11-18", f"{card.decisions:,} trained on", "the basket", "offer-1", "squarecb"):
        assert said in text
    assert "No protected attribute" in text
    assert set(card.sources) == set(card.features)
    assert "psn_" not in text


def test_every_feature_that_is_allowed_has_a_source() -> None:
    assert set(SOURCES) == set(ALLOWED)


def test_a_card_of_before_reads_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry(tmp_path)
    about = {"trained_ms": 1, "trained_by": "t", "data_from_ms": 1, "data_until_ms": 1, "decisions": 1, "left_out": {}}
    card = registry.add(
        b"x", ModelKind.LINEAR, {**about, "measure": "c", "features": [], "schema_hash": "", "offers": 1}
    )
    assert main(["card", card.model, "--registry", str(tmp_path)]) == 0
    assert "not recorded" in capsys.readouterr().out


def test_the_program_s_hash_changes_with_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_hash()
    copy = tmp_path / "offer_engine"
    shutil.copytree(Path(cards.__file__).parents[1], copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cards, "__file__", str(copy / "learning" / "cards.py"))
    assert code_hash.__wrapped__() == before
    with (copy / "decide.py").open("a", encoding="utf-8") as planted:
        planted.write("# planted")
    assert code_hash.__wrapped__() != before


def test_training_says_how_far_it_is_where_nobody_has_a_terminal(
    log: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_TELL_SECONDS", 0.0)
    command = ["train", str(log[0]), "--registry", str(tmp_path), "--as-of", AS_OF, "--jobs", "1", "--kind", "boosted"]
    assert main(command) == 0
    said = capsys.readouterr().err
    assert re.search(r"^8,000 decisions, [\d,]+/s, 0 s left$", said, re.MULTILINE)
    assert "100 of 100 trees" in said


def test_files_counted_in_processes_make_the_same_model(log: list[Path], registry: Registry, tmp_path: Path) -> None:
    assert main(["train", *map(str, log), "--registry", str(tmp_path), "--as-of", AS_OF, "--jobs", "2"]) == 0
    alone, together = registry.cards()[0], Registry(tmp_path).cards()[0]
    assert (alone.decisions, alone.left_out, alone.data_from_ms) == (
        together.decisions,
        together.left_out,
        together.data_from_ms,
    )


def test_a_model_that_is_better_says_so_and_with_what(
    log: list[Path], registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_priorities = tmp_path / "priorities.jsonl"
    shape = Shape(arms=3, rounds=2_000, subjects=500)
    of_priorities.write_text("\n".join(lines(Market.made(shape, seed=11), FixedPlayer(1), seed=5)), encoding="utf-8")
    assert run("evaluate", [*log, of_priorities], registry) == 0
    told = capsys.readouterr().out
    assert re.search(r"Judged on 4,\d{3} decisions; .* \d{3} not drawn", told)
    assert "Yes: better than the incumbent" in told
    assert re.search(r"model +0\.\d+", told)
    assert "always offer-" in told


def test_a_log_that_cannot_tell_is_no_ground_to_promote(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fixed.jsonl"
    shape = Shape(arms=3, rounds=2_000, subjects=500)
    path.write_text("\n".join(lines(Market.made(shape, seed=11), FixedPlayer(1), seed=5)), encoding="utf-8")
    assert run("evaluate", [path], registry) == 1
    assert "cannot tell" in capsys.readouterr().out
    assert run("promote", [path], registry) == 1
    assert registry.history() == []


def stage_log(path: Path, name: str, *, is_good: bool) -> Path:
    """What came of a stage of this model, which earns the most or the least that can be earned."""
    of = Market.made(Shape(arms=4, rounds=8_000, subjects=6_000), seed=11)
    model, incumbent = (fixed(of, -1 if is_good else 0), fixed(of, 0 if is_good else -1))
    staged = Staged(of, model, incumbent, Stage.RAMP_50, name)
    path.write_text("\n".join(json.dumps(record) for record in staged.records(3)), encoding="utf-8")
    return path


def standing(folder: Path, stage: Stage) -> Registry:
    """A registry whose model stands so since the market began."""
    registry = Registry(folder)
    card = registry.add(MODEL.to_bytes(), ModelKind.LINEAR, dict(ABOUT))
    registry.record(Change(NOW_MS, card.model, stage.value, "ops", "passed"))
    return registry


def test_a_model_passes_the_gate_and_then_waits_for_a_first_look(
    log: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models"
    assert main(["train", *map(str, log), "--registry", str(folder), "--as-of", AS_OF, "--jobs", "1"]) == 0
    registry = Registry(folder)
    assert run("promote", log, registry, "--by", "ops", "--sharpness", "90") == 0
    assert registry.history()[0].exploration == Exploration(sharpness=90.0)
    began_ms = registry.history()[0].at_ms
    model = registry.cards()[0].model
    command = ["promote", *map(str, log), "--registry", str(folder), "--model", model, "--as-of", str(began_ms + 1)]
    assert main(command) == 1
    assert [(change.stage, change.by) for change in registry.history()] == [("canary", "ops")]
    assert "guard missing" in capsys.readouterr().out


def test_a_stage_whose_log_is_good_leads_to_the_next_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = standing(tmp_path / "models", Stage.RAMP_5)
    log = [stage_log(tmp_path / "log.jsonl", registry.history()[0].model, is_good=True)]
    assert run("promote", log, registry, "--by", "ana") == 0
    assert [(change.stage, change.by) for change in registry.history()] == [("ramp_5", "ops"), ("ramp_20", "ana")]
    told = capsys.readouterr().out
    assert "ramp_5 -> ramp_20: passed" in told
    assert all(words in told for words in WORDS.values())


def test_a_stage_is_looked_at_as_of_now_where_nothing_else_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "now_milliseconds", lambda: int(AS_OF))
    registry = standing(tmp_path / "models", Stage.FULL)
    name = registry.history()[0].model
    log = stage_log(tmp_path / "log.jsonl", name, is_good=True)
    assert main(["promote", str(log), "--registry", str(registry.directory), "--model", name]) == 1
    told = capsys.readouterr().out
    assert "full -> full: ended" in told
    assert "the last 64 days alone" in told


def exported_at(log: Path, at_ms: int) -> Path:
    """The log of a stage with a decision every ten seconds as it was exported then: what came later is not in it."""
    lines = []
    for record in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
        for times in (record, *record["outcomes"]):
            for name in times.keys() & {"decided_ms", "presented_ms", "at_ms", "recorded_ms"}:
                times[name] = NOW_MS + (times[name] - NOW_MS) // 6
        if record["decided_ms"] < at_ms:
            record["outcomes"] = [each for each in record["outcomes"] if each["recorded_ms"] <= at_ms]
            lines.append(json.dumps({**record, "exported_ms": at_ms}))
    exported = log.with_name(f"{at_ms}.jsonl")
    exported.write_text("\n".join(lines), encoding="utf-8")
    return exported


def test_an_export_of_a_stage_s_first_hours_is_no_older_however_late_it_is_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = standing(tmp_path / "models", Stage.RAMP_5)
    log = stage_log(tmp_path / "log.jsonl", registry.history()[0].model, is_good=True)
    assert run("promote", [exported_at(log, NOW_MS + 23 * HOUR_MS)], registry) == 1
    assert [change.stage for change in registry.history()] == ["ramp_5"]
    assert "passed" not in capsys.readouterr().out
    assert run("promote", [exported_at(log, NOW_MS + 600_000)], registry) == 1, "nothing was looked at yet"
    assert "guard missing" in capsys.readouterr().out


def test_planted_fault_a_log_that_is_read_as_of_today_takes_hours_for_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_exported_ms", lambda line: None)
    with pytest.raises(AssertionError):
        test_an_export_of_a_stage_s_first_hours_is_no_older_however_late_it_is_judged(tmp_path, capsys)


def test_a_stage_whose_log_is_bad_ends_it_with_the_guards_that_it_was_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = standing(tmp_path / "models", Stage.RAMP_50)
    log = [stage_log(tmp_path / "log.jsonl", registry.history()[0].model, is_good=False)]
    assert run("promote", log, registry) == 1
    last = registry.history()[-1]
    assert (last.stage, last.reason) == ("rolled_back", "guard_worse: reward_lost, margin_lost")
    assert "guard worse" in capsys.readouterr().out
    assert run("promote", log, registry) == 1, "it has ended"
    assert len(registry.history()) == 2


def test_a_history_that_moved_meanwhile_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = standing(tmp_path / "models", Stage.RAMP_50)
    log = [stage_log(tmp_path / "log.jsonl", registry.history()[0].model, is_good=True)]
    honest = Comparison.measured

    def meanwhile(comparison: Comparison) -> Measured:
        registry.record(Change(NOW_MS + 1, registry.history()[0].model, "rolled_back", "another", "complaints"))
        return honest(comparison)

    monkeypatch.setattr(Comparison, "measured", meanwhile)
    assert run("promote", log, registry) == 1
    assert "the history was added to meanwhile" in capsys.readouterr().err
    assert [change.by for change in registry.history()] == ["ops", "another"]


def test_a_person_can_take_a_model_back(log: list[Path], tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.record(Change(NOW_MS, "a" * 64, "ramp_20", "ops", "passed"))
    assert main(["rollback", "--registry", str(tmp_path), "--reason", "complaints", "--by", "ada"]) == 0
    last = registry.history()[-1]
    assert (last.model, last.stage, last.by, last.reason) == ("a" * 64, "rolled_back", "ada", "complaints")


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= dict(attrs)


def test_the_report_is_one_page_without_script_or_anything_from_elsewhere(
    log: list[Path], registry: Registry, tmp_path: Path
) -> None:
    assert run("report", log, registry, "--out", str(tmp_path / "r.html")) == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("svg") == 3
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not {"src", "href", "style", "onload", "onclick"} & set(page.attributes)
    assert "default-src 'none'" in text
    assert "psn_" not in text


def test_the_style_is_the_one_that_the_page_s_policy_names() -> None:
    import base64
    import hashlib

    text = report(judgement("model"))
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in text


def verdict(policy: str, *refusals: Refusal) -> Verdict:
    interval = Interval(0.3, 0.2, 0.4, 0.25, 0.35)
    values = {} if refusals else dict.fromkeys(Estimator, interval)
    return Verdict(policy, refusals, values, None if refusals else interval, 900, 800.0, 90.0, 1.0, 7.0)


def judgement(*policies: str) -> Judgement:
    names = ["incumbent", "random", *policies]
    return Judgement({name: verdict(name) for name in names}, "incumbent", None, "random", 300, 0.95)


def report(judged: Judgement) -> str:
    card = Card("a" * 64, ModelKind.LINEAR, NOW_MS, "<b>me</b>", NOW_MS, NOW_MS, 9, {}, "conversion", [], "b", 3)
    history = [Change(NOW_MS, "a" * 64, "canary", "<i>ops</i>", "<script>alert(1)</script>")]
    return render_report(
        judged, card, Reading(DEFAULT_SCHEMA, RewardRule(), NOW_MS), Reason.LOG_CANNOT_TELL, None, history
    )


def test_what_merchants_named_is_text_on_the_page() -> None:
    text = report(judgement("model", "always <script>alert(2)</script>"))
    assert "<script" not in text
    assert "always &lt;script&gt;" in text
    assert "&lt;i&gt;ops" in text


def test_a_refusal_stands_where_a_value_would() -> None:
    judged = judgement("model")
    judged.verdicts["model"] = verdict("model", Refusal.NO_SUPPORT, Refusal.TOO_FEW_REWARDED)
    text = report(judged)
    assert "no answer: no support, too few rewarded" in text
    assert "This log cannot tell" in text


def test_plots_of_nothing_are_nothing_and_of_one_point_are_a_plot() -> None:
    assert forest([], "t") == curves([], "t", "x") == ""
    assert forest([Bar("a", 1.0, 1.0, 1.0, (1.0, 1.0))], "t").count("<circle") == 1
    assert "nan" not in curves([("a", [(0.0, 0.0), (0.0, 0.0)])], "t", "x")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "nowhere.jsonl"], "no such file: nowhere.jsonl"),
        (["train", "BAD"], "line 1 is no decision record"),
        (["train", "EMPTY"], "no decision can be learned from"),
        (["evaluate", "EMPTY", "--model", "ffff"], "0 models have a name that begins so"),
        (["rollback", "--reason", "none"], "no model has traffic"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "BAD").write_text('{"subject": "psn_secret"}\n', encoding="utf-8")
    (tmp_path / "EMPTY").touch()
    named = [str(tmp_path / each) if each.isupper() else each for each in arguments]
    assert main([*named, "--registry", str(tmp_path / "models")]) == 1
    out = capsys.readouterr().err
    assert out.count("\n") == 1
    assert told in out
    assert "psn_" not in out
