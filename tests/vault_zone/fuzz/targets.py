"""Every parser of the zone that meets card data, each as a function of bytes with what must hold of it.

1. It raises nothing but its own refusal, whatever it is given.
2. Neither a refusal nor the repr of an answer holds digits that were given; of what takes a card in clear, nor do the locals
   of the zone's frames in the refusal's traceback.
3. What it accepts reads back the same.
4. It ends soon: the fuzzer and the replay of the corpus give it a time.

A function raises Broken when one of (2) (3) does not hold, and lets through whatever breaks (1). A new parser is a new row of
TARGETS, with seeds; the replay and `make fuzz` take it from there.
"""

import hashlib
import hmac
import re
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

import vault_zone
from tokenization.edge import spoken_texts
from tokenization.scanner import contains_card, contains_card_in_bytes
from tokenization.wire import DisputeState
from vault_zone.capture_form import (
    BODY_MAX_BYTES,
    BODY_MAX_FIELDS,
    FormErrors,
    FormRefused,
    parse_capture_form,
    parse_form_body,
    safe_values,
)
from vault_zone.card import CardholderName, CardInvalid, Cvc, Expiry, Exposure, Pan, PostalCode, passes_luhn
from vault_zone.hazmat.seal import SealBroken, seal_with_nonce, unseal
from vault_zone.processors import sandbox
from vault_zone.processors.port import (
    ModificationNews,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorEvent,
    WebhookRefused,
)

Target = Callable[[bytes], None]
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
_ZONE = str(Path(vault_zone.__file__).parent)
_RUN = re.compile(r"[0-9]{8,}")
_KEY, _NONCE, _FIELDS = bytes(range(32)), bytes(12), ("tok_a", "harbour-pine", "key_a")
_PLAINTEXT = b"4242424242424242|12|2034"
_SEALED = seal_with_nonce(_KEY, _PLAINTEXT, _FIELDS, _NONCE)
_SECRET = b"a secret for the webhooks of a test"
_PROCESSOR = sandbox.SandboxProcessor(
    "http://127.0.0.1:1", "key", _SECRET
)  # its TLS context takes longer than a reading


class Broken(Exception):
    """A parser does not keep what must hold of it. Says which rule."""


def must_hold(condition: bool, rule: str) -> None:
    """Raises Broken with the rule unless the condition holds."""
    if not condition:
        raise Broken(rule)


def holds_digits_of(given: bytes, said: str) -> bool:
    """Whether eight digits or more in a row are in what was said and, whatever stood between them, in what was given (2)."""
    text = given.decode("latin-1")
    digits = "".join(char for char in text if char in "0123456789")
    return any(run in digits for run in _RUN.findall(said))


def said_by(failure: BaseException, *, with_locals: bool) -> str:
    """All that a report of an exception and its causes could hold: text and, if asked for, the locals of the zone's frames."""
    told = traceback.TracebackException.from_exception(failure, capture_locals=True)
    said = [repr(failure), str(failure), repr(failure.args)]
    while told is not None:
        if with_locals:
            said += [repr(frame.locals) for frame in told.stack if frame.filename.startswith(_ZONE)]
        said.append("".join(told.format_exception_only()))
        told = told.__cause__ or told.__context__  # type: ignore[assignment]  # typed as never None
    return " ".join(said)


def refuses(parse: Callable[[], Any], given: bytes, *refusals: type[BaseException], takes_cards: bool = True) -> Any:
    """What a parser makes of its input, or None for its own refusal (1), which must be silent (2)."""
    try:
        accepted = parse()
    except refusals as refusal:
        must_hold(not holds_digits_of(given, said_by(refusal, with_locals=takes_cards)), "a refusal holds digits")
        return None
    must_hold(not takes_cards or not _shows(accepted, given), "the repr of what was accepted holds digits")
    return accepted


def _shows(accepted: object, given: bytes) -> bool:
    is_plain = isinstance(
        accepted, dict | bytes | str
    )  # what is still only text: nobody promised that it cannot be printed
    return not is_plain and holds_digits_of(given, f"{accepted!r} {accepted!s}")


def form_body(given: bytes) -> None:
    """The body of the card form becomes fields."""
    fields = refuses(lambda: parse_form_body(given), given, FormRefused)
    if fields is None:
        return
    must_hold(len(given) <= BODY_MAX_BYTES and len(fields) <= BODY_MAX_FIELDS, "a form over its bounds was accepted")
    again = urlencode(fields).encode()
    must_hold(len(again) > BODY_MAX_BYTES or parse_form_body(again) == fields, "a form does not read back the same")


def capture_form(given: bytes) -> None:
    """Fields become a card, or what is wrong with each of them."""
    fields = refuses(lambda: parse_form_body(given), given, FormRefused)
    if fields is None:
        return
    read = refuses(lambda: parse_capture_form(fields, NOW), given)
    number = "".join(char for char in fields.get("number", "") if char not in " -")
    shown = safe_values(fields)
    must_hold(not number.isdigit() or number not in shown.name + shown.postal_code, "the number is shown again")
    must_hold(not contains_card(shown.name) and not contains_card(shown.postal_code), "a card is shown again")
    if isinstance(read, FormErrors):
        must_hold(bool(read.codes) and not holds_digits_of(given, str(list(read.shown()))), "an error says a value")
    else:
        must_hold(read.card.pan.expose(Exposure.PROCESSOR) == number, "another number was read than was typed")


def card_fields(given: bytes) -> None:
    """One field of a card; the first byte says which."""
    text = given[1:].decode("utf-8", "replace")
    which = given[0] % 5 if given else 0
    parsers: tuple[Callable[[str], Any], ...] = (
        Pan.parse,
        lambda typed: Expiry.parse(typed, NOW),
        lambda typed: Cvc.parse(typed, None),
        CardholderName.parse,
        PostalCode.parse,
    )
    read = refuses(lambda: parsers[which](text), given, CardInvalid)
    if read is None:
        return
    held = read.expose(Exposure.PROCESSOR)
    again = Expiry.parse(f"{held[0]:02}/{held[1]}", NOW) if which == 1 else parsers[which](held)
    must_hold(again == read, "a field does not read back the same")
    must_hold(
        which != 0 or (held.isdigit() and 13 <= len(held) <= 19 and passes_luhn(held)), "no card number was accepted"
    )


def sealed(given: bytes) -> None:
    """Sealed bytes open only if nothing of them was changed, and what opens was sealed."""
    for candidate in (given, _SEALED[: len(given)] + given, bytes(a ^ b for a, b in zip(_SEALED, given, strict=False))):
        opened = refuses(partial(unseal, _KEY, candidate, _FIELDS), candidate, SealBroken, takes_cards=False)
        must_hold((opened is None) == (candidate != _SEALED), "altered bytes opened, or good ones did not")


def processor_answer(given: bytes) -> None:
    """What a processor answers to a charge and to a question for one."""
    for status in (200, 402, 500):
        answer = httpx.Response(status, content=given)
        _check_answer(sandbox._read_answer(answer))
        listed = sandbox._read_list(answer)
        if listed is not None:
            _check_answer(listed)


def _check_answer(answer: ProcessorAnswer) -> None:
    must_hold(isinstance(answer.outcome, Outcome), "an outcome that is none")
    words = (answer.processor_charge, answer.decline_code, answer.action_url)
    must_hold(all(word is None or len(word) <= 2000 for word in words), "a word over its bound was kept")
    must_hold(not any(contains_card(word) for word in words if word), "a card number came back")


def webhook(given: bytes) -> None:
    """A processor's webhook: signed, so that its body is read, and with the signature from the input."""
    sent_at = str(NOW_MS // 1000)
    signature = hmac.new(_SECRET, f"{sent_at}.".encode() + given, hashlib.sha256).hexdigest()
    for header in (f"t={sent_at},v1={signature}", given.decode("latin-1")):
        read = partial(_PROCESSOR.read_webhook, {"sandbox-signature": header}, given, NOW_MS)
        for event in refuses(read, given, WebhookRefused, takes_cards=False) or ():
            _check_event(event)


def _check_event(event: ProcessorEvent) -> None:
    news = event.news
    said = [event.event_id, event.reference, event.processor_charge]
    if isinstance(news, ProcessorAnswer):
        _check_answer(news)
    elif isinstance(news, ModificationNews):
        must_hold(isinstance(news.answer.outcome, ModificationOutcome), "an outcome that is none")
        said += [news.reference, news.answer.processor_reference, news.answer.decline_code]
    else:
        must_hold(isinstance(news.state, DisputeState), "a state that is none")
        said += [news.processor_dispute, news.reason]
    must_hold(all(word is None or len(word) <= 80 for word in said), "a word over its bound was kept")
    must_hold(not any(contains_card(word) for word in said if word), "a card number came back")


def edge(given: bytes) -> None:
    """The scan of a body at the edges: any bytes, as JSON, as a form and as nothing in particular."""
    found = [
        contains_card_in_bytes(given, kind) for kind in ("application/json", "application/x-www-form-urlencoded", None)
    ]
    must_hold(all(isinstance(verdict, bool) for verdict in found), "a verdict that is none")
    must_hold(all(isinstance(text, str) for text in spoken_texts(given)), "a text that is none")


_FORM = b"number=4242+4242+4242+4242&expiry=12+%2F+34&cvc=737&name=Robin+Field&postal_code=97209"
_CHARGE = b'{"id":"ch_a","status":"succeeded","reference":"pay_a","action":{"url":"https://bank.example/acs"}}'
_REFUND = (
    b'{"id":"ref_a","object":"modification","kind":"refund","reference":"mod_a","charge":"ch_a","charge_reference":"chg_a",'
    b'"status":"pending","amount_minor":100,"currency":"EUR"}'
)
_DISPUTE = (
    b'{"id":"dp_a","object":"dispute","charge":"ch_a","charge_reference":"chg_a","status":"needs_response",'
    b'"amount_minor":100,"currency":"EUR","reason":"fraudulent","fee_minor":1500,"evidence_due_at":"2026-11-25T11:06:40Z"}'
)
SEEDS: Mapping[str, tuple[bytes, ...]] = {
    "form_body": (_FORM, b"", b"&&=&a", b"a=%", b"a=%F0%9F", b"a=1&a=2", b"&" * 5000, b"n=" + b"%34" * 1300),
    "capture_form": (
        _FORM,
        _FORM.replace(b"4242+4242+4242+4242", b"4242424242424241"),
        _FORM.replace(b"Robin+Field", b"4242424242424242"),
        _FORM.replace(b"97209", b"4242-4242-42"),
        _FORM.replace(b"4242+4242+4242+4242", "４２４２４２４２４２４２４２４２".encode()),
        b"number=378282246310005&cvc=7373&expiry=1234&name=%E2%80%8D&postal_code=+",
    ),
    "card_fields": (
        b"\x004242 4242 4242 4242",
        b"\x00378282246310005",
        "\0٤٢٤٢".encode(),
        b"\x0112/34",
        b"\x011/2034",
        b"\x02737",
        b"\x03Robin Field",
        b"\x0497209",
        b"\x04" + b"9" * 4000,
    ),
    "sealed": (_SEALED, b"\0", b"", bytes(len(_SEALED)), b"\x01" + bytes(40)),
    "processor_answer": (
        _CHARGE,
        b'{"charges":[' + _CHARGE + b"]}",
        b'{"charges":{"a":1}}',
        b'{"charges":7}',
        b'{"charges":[]}',
        b"[" * 5000,
        b'{"error":{"code":"card_declined"}}',
        b'{"error":[]}',
        _CHARGE.replace(b"ch_a", b"4242424242424242"),
        b"1" * 5000,
        b"\xff\xfe",
    ),
    "webhook": (
        b'{"id":"evt_a","data":' + _CHARGE + b"}",
        b'{"id":"evt_a","data":' + _REFUND + b"}",
        b'{"id":"evt_a","data":' + _REFUND.replace(b"ref_a", b"4242424242424242") + b"}",
        b'{"id":"evt_a","data":' + _DISPUTE + b"}",
        b'{"id":"evt_a","data":' + _DISPUTE.replace(b"fraudulent", b"4242424242424242") + b"}",
        b'{"id":"evt_a","data":{"object":"payout"}}',
        b'{"id":"evt_a","data":"x"}',
        b"[" * 5000,
        b"t=\xb2,v1=",
        b'{"id":"4242424242424242","data":' + _CHARGE + b"}",
        b"t=1,v1=\xe9",
    ),
    "edge": (_FORM, b'{"a":"4242 4242 4242 4242"}', b"[" * 5000, b'{"a":' * 3000, b"\xff\x00", b"%34%32" * 400),
}
TARGETS: Mapping[str, Target] = {
    "form_body": form_body,
    "capture_form": capture_form,
    "card_fields": card_fields,
    "sealed": sealed,
    "processor_answer": processor_answer,
    "webhook": webhook,
    "edge": edge,
}
