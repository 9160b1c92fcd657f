"""From an exported log to a model that serves: trained, judged on others, reported, promoted, rolled back; or refused."""

import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from offer_engine.cli import main
from offer_engine.exploration import Exploration
from offer_engine.features import DEFAULT_SCHEMA
from offer_engine.judging.estimators import Estimator
from offer_engine.judging.intervals import Interval
from offer_engine.judging.judge import Judgement, Verdict
from offer_engine.judging.plots import Bar, curves, forest
from offer_engine.judging.promotion import Guard, Reason
from offer_engine.judging.report import render_report
from offer_engine.judging.support import Refusal
from offer_engine.learning.log import Reading
from offer_engine.learning.registry import Card, Change, ModelKind, Registry
from offer_engine.learning.rewards import RewardRule
from offer_engine.market import NOW_MS, FixedPlayer, Market, Player, Shape, lines

AS_OF = "1900000000000"
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
    assert NOW_MS < card.data_from_ms < card.data_until_ms


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
    assert re.search(r"Judged on 4,\d{3} decisions; .* 6\d\d not drawn", told)
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


def measured(path: Path, refunds: float) -> Path:
    guards = {guard.value: [-0.02, -0.03, -0.01] for guard in Guard}
    guards["refunds"] = [refunds, refunds - 0.01, refunds + 0.01]
    path.write_text(json.dumps({"decisions": 5_000, "stage_ms": 10**9, "guards": guards}), encoding="utf-8")
    return path


def test_a_model_is_promoted_step_by_step_and_taken_back(
    log: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models"
    assert main(["train", *map(str, log), "--registry", str(folder), "--as-of", AS_OF, "--jobs", "1"]) == 0
    registry = Registry(folder)
    assert run("promote", log, registry, "--by", "ops", "--sharpness", "90") == 0
    assert registry.history()[0].exploration == Exploration(sharpness=90.0)
    assert run("promote", log, registry) == 1, "nothing was measured yet"
    assert run("promote", log, registry, "--measured", str(measured(tmp_path / "m.json", -0.02))) == 0
    assert [change.stage for change in registry.history()] == ["canary", "ramp_5"]
    assert run("promote", log, registry, "--measured", str(measured(tmp_path / "m.json", 0.3))) == 1
    assert [change.stage for change in registry.history()] == ["canary", "ramp_5", "rolled_back"]
    assert "guard worse" in capsys.readouterr().out
    assert main(["rollback", "--registry", str(folder), "--reason", "again"]) == 1
    assert registry.history()[0].by == "ops"


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


@pytest.mark.parametrize("text", ["{}", "[]", "x", '{"decisions": 1, "stage_ms": 1, "guards": {"other": [0, 0, 0]}}'])
def test_measurements_that_are_none_are_refused(
    text: str, log: list[Path], registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry(tmp_path)
    registry.directory.joinpath("models").mkdir()
    about = {"trained_ms": 1, "trained_by": "t", "data_from_ms": 1, "data_until_ms": 1, "decisions": 1, "left_out": {}}
    more = {"measure": "conversion", "features": [], "schema_hash": DEFAULT_SCHEMA.hash, "offers": 1}
    card = registry.add(b"model", ModelKind.LINEAR, {**about, **more})
    registry.record(Change(NOW_MS, card.model, "canary", "ops", "passed"))
    (tmp_path / "m.json").write_text(text, encoding="utf-8")
    assert run("promote", log, registry, "--measured", str(tmp_path / "m.json")) == 1
    assert "does not say decisions, stage_ms and guards" in capsys.readouterr().err
