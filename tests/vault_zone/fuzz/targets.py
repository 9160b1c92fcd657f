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
import json
import re
import traceback
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx
from starlette.datastructures import Headers

import vault_zone
from tokenization.edge import spoken_texts
from tokenization.money import Money
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
from vault_zone.card import Card, CardholderName, CardInvalid, Cvc, Expiry, Exposure, Pan, PostalCode, passes_luhn
from vault_zone.delegation.acp import read_delegation
from vault_zone.delegation.acp_body import CARD_NAMES as ACP_NAMES
from vault_zone.delegation.acp_errors import AcpRefused
from vault_zone.delegation.message_signature import MessageSignatureRefused, SignedMessage, require_signed
from vault_zone.delegation.sent_card import BodyRefused, FieldNames, SentCard, canonical, parse_json, without_proof
from vault_zone.delegation.ucp_body import CARD_NAMES as UCP_NAMES
from vault_zone.delegation.ucp_body import checkout_of, credential_of, merchant_of
from vault_zone.delegation.ucp_errors import UcpRefused
from vault_zone.forward.placeholders import Parts
from vault_zone.forward.scrubbing import FIELDS_MAXIMUM, TEXT_CHARS_MAXIMUM, Scrubbed, Scrubber
from vault_zone.forward.sending import ANSWER_BYTES_MAXIMUM, Delivery, _read
from vault_zone.forward.traces import Traces
from vault_zone.hazmat.seal import SealBroken, seal_with_nonce, unseal
from vault_zone.platforms import Platform
from vault_zone.processors import sandbox
from vault_zone.processors.port import (
    ModificationNews,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorEvent,
    WebhookRefused,
)

T = TypeVar("T")
Target = Callable[[bytes], None]
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
_ZONE = str(Path(vault_zone.__file__).parent)
_RUN = re.compile(r"[0-9]{8,}")
_KEY, _NONCE, _FIELDS = bytes(range(32)), bytes(12), ("tok_a", "harbour-pine", "key_a")
_PLAINTEXT = b"4242424242424242|12|2034"
_SEALED = seal_with_nonce(_KEY, _PLAINTEXT, _FIELDS, _NONCE)
_PLATFORM = Platform(
    "plt_a", "Chat", "", frozenset({"ucp"}), frozenset({"harbour-pine"}), None, Money(50_000, "USD"), NOW_MS
)
# The public key of RFC 8032's first test vector: nobody here has its other half.
_PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
"""
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


def forward_answer(given: bytes) -> None:
    """What a destination answers to a forwarded request: status line, headers and body, read up to the bound and scrubbed."""
    first, _, rest = given.partition(b"\n\n")
    lines = [line.partition(b":")[::2] for line in first.split(b"\n")[1:]]
    headers = [(name, value.strip()) for name, value in lines if name and b"\r" not in name + value]
    answer = httpx.Response(
        200,
        headers=headers,
        stream=httpx.ByteStream(rest or given),
        extensions={"reason_phrase": first.split(b"\n")[0]},
    )
    reply = _finished(_read(answer))
    must_hold(reply.delivery is Delivery.ANSWERED, "an answer that came is not taken for one")
    must_hold(reply.body is None or len(reply.body) <= ANSWER_BYTES_MAXIMUM, "more was kept than the bound")
    must_hold(not holds_digits_of(given, repr(reply)), "the repr of an answer holds digits")
    for scrubber in _SCRUBBERS:
        _check_told(scrubber.scrub(reply.head, reply.body, _TOLD, reply.problem), reply.body)
    whole = _SCRUBBERS[0].scrub(first.decode("latin-1"), given, _TOLD)
    _check_told(whole, given)
    must_hold(whole.echoed or _NUMBER.encode() not in given, "the number in an answer was not noticed")


def _finished(work: Coroutine[Any, Any, T]) -> T:
    """What work gives that waits for nothing: a loop for each input would cost more than the parser."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]
    raise Broken("it waits for something")


def _check_told(told: Scrubbed, body: bytes | None) -> None:
    must_hold(len(told.fields) + len(told.withheld) <= FIELDS_MAXIMUM, "more fields than the bound")
    must_hold(body is not None or not told.fields, "fields of a body that was not read")
    must_hold(not told.reason or not told.fields, "withheld whole, and told")
    texts = [str(value) for value in told.fields.values()]
    must_hold(all(len(text) <= TEXT_CHARS_MAXIMUM for text in texts), "a text over its bound was told")
    must_hold(all(isinstance(value, str | int | bool | None) for value in told.fields.values()), "no scalar was told")
    must_hold(
        not any(Traces(_NUMBER).are_in(text) or contains_card(text) for text in [*texts, "".join(texts)]),
        "the number was told",
    )
    must_hold(
        not any("737" in re.findall(r"[0-9]+", text) or _HEADER_SECRET in text for text in texts), "a secret was told"
    )
    json.dumps(told.fields)


_NUMBER, _HEADER_SECRET = "5555555555554444", "sk_of_the_zone"
_PARTS = Parts(
    Card(
        pan=Pan.parse(_NUMBER),
        expiry=Expiry.parse("12/34", NOW),
        name=CardholderName.parse("Robin Field"),
        postal_code=PostalCode.parse("97209"),
    ),
    Cvc.parse("737", None),
)
_SCRUBBERS = (
    Scrubber(_PARTS, (_HEADER_SECRET,)),
    Scrubber(_PARTS, (_HEADER_SECRET,), ("a caller's own words 12", "order-77")),
)
_TOLD = ("/id", "/status", "/list/*", "/deep/er", "/a~1b", "")
_ANSWER = b'{"id":"ch_a","status":"ok","list":[1,2.5,null,true,"x"],"deep":{"er":"way"},"a/b":"c"}'


def acp_body(given: bytes) -> None:
    """The body of ACP's delegate_payment becomes a card and its allowance, or a refusal by path."""
    _platform_body(given, "payment_method", ACP_NAMES, lambda content: read_delegation(content, NOW_MS)[0], AcpRefused)


def ucp_body(given: bytes) -> None:
    """The body of UCP's tokenizer becomes a merchant, a card and a checkout, or a refusal by path."""

    def read(content: dict[str, Any]) -> SentCard:
        merchant = merchant_of(content, _PLATFORM)
        sent = credential_of(content, NOW_MS)
        must_hold(merchant in _PLATFORM.merchants and bool(checkout_of(content)), "a token bound to nothing")
        return sent

    _platform_body(given, "credential", UCP_NAMES, read, UcpRefused)


def _platform_body(
    given: bytes,
    holder: str,
    names: FieldNames,
    read: Callable[[dict[str, Any]], SentCard],
    refusal: type[AcpRefused | UcpRefused],
) -> None:
    """Of the locals nothing is asked: metadata may hold digits and stays. The card must be gone from what was taken."""
    content = refuses(lambda: parse_json(given), given, BodyRefused, takes_cards=False)
    if content is None:
        return
    parts = refuses(lambda: canonical(without_proof(content, holder, names)), given, BodyRefused, takes_cards=False)
    sent = None if parts is None else refuses(lambda: read(content), given, refusal, takes_cards=False)
    if sent is None:
        return
    must_hold(not holds_digits_of(given, f"{sent!r}"), "the repr of a card holds digits")
    must_hold(not set(names.fields()) & content[holder].keys(), "a field of the card was left in the body")
    must_hold(sent.card.pan.last4 == sent.card.pan.expose(Exposure.PROCESSOR)[-4:], "another card was read")


def signed_message(given: bytes) -> None:
    """Two headers of a signed request; the first line is its Signature-Input. No key of ours signed it."""
    first, _, second = given.decode("latin-1").partition("\n")
    headers = Headers({"signature-input": first, "signature": second, "idempotency-key": "k", "content-type": "a/b"})
    message = SignedMessage("POST", "cards.example", "/ucp/tokenize", "", headers, given)
    read = partial(require_signed, message, _PUBLIC_KEY, NOW_MS)
    refused = False
    try:
        read()
    except MessageSignatureRefused as refusal:
        refused = True
        must_hold(not holds_digits_of(given, str(refusal)), "a refusal holds digits")
    must_hold(refused, "what nobody signed was taken")


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
_ACP = (
    b'{"payment_method":{"type":"card","card_number_type":"fpan","number":"4242424242424242","exp_month":"12",'
    b'"exp_year":"2034","cvc":"737","name":"Robin Field","display_card_funding_type":"credit","metadata":{}},'
    b'"allowance":{"reason":"one_time","max_amount":10905,"currency":"usd","checkout_session_id":"chk_a",'
    b'"merchant_id":"harbour-pine","expires_at":"2026-11-22T12:15:00Z"},"risk_signals":[],"metadata":{}}'
)
_UCP = (
    b'{"credential":{"type":"pan","number":"4242424242424242","expiry_month":12,"expiry_year":2034,"cvc":"737",'
    b'"name":"Robin Field"},"binding":{"checkout_id":"chk_a","identity":{"access_token":"harbour-pine"}}}'
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
    "forward_answer": (
        b"OK\nContent-Type: application/json\n\n" + _ANSWER,
        b"OK\nX-Echo: 5555 5555 5555 4444\n\n" + _ANSWER,
        b"OK\nContent-Encoding: gzip\n\n" + _ANSWER,
        b"OK\nContent-Length: 5\n\n{}",
        _ANSWER.replace(b"ch_a", b"5555555555554444"),
        _ANSWER.replace(b"ch_a", b"NTU1NTU1NTU1NTU1NDQ0NA=="),
        _ANSWER.replace(b"ch_a", b"55555555").replace(b'"way"', b'"55554444"'),
        _ANSWER.replace(b"ch_a", b"737"),
        _ANSWER.replace(b"ch_a", b"sk_of_the_zone"),
        _ANSWER.replace(b"ch_a", b"\\ud800"),
        _ANSWER.replace(b"1,2.5", b"5.555555555554444e15,1e999999,-0,1E-400"),
        b'{"id":1,"id":2,"list":' + b"[" * 5000,
        b'{"list":[' + b"1," * 200 + b"1]}",
        b'{"id":NaN}',
        b'{"id":' + b"9" * 5000 + b"}",
        '{"id":"５５５５５５５５５５５５４４４４"}'.encode(),
        '{"id":"x"}'.encode("utf-16"),
        b"+AHsAIgBpAGQAIgA6ADEAfQ-",
        b"\xff\xfe\x00",
        b'"5555555555554444"',
    ),
    "acp_body": (
        _ACP,
        _ACP.replace(b"4242424242424242", b"4242424242424241"),
        _ACP.replace(b'"fpan"', b'"network_token"'),
        _ACP.replace(b'"metadata":{}', b'"metadata":{"a":"4242424242424242"}'),
        _ACP.replace(b'"12"', b"12"),
        b"[" * 5000,
        b'{"payment_method":{"number":' + b"4" * 5000 + b"}}",
        b'{"a":1,"a":2}',
        b"\xff\xfe",
    ),
    "ucp_body": (
        _UCP,
        _UCP.replace(b"4242424242424242", b"4242424242424241"),
        _UCP.replace(b'"pan"', b'"network_token"'),
        _UCP.replace(b'"checkout_id":"chk_a"', b'"type":"dev.ucp.shopping.checkout","id":"chk_a"'),
        _UCP.replace(b"12,", b"1e9,"),
        b'{"credential":[],"binding":{}}',
        b'{"credential":{"type":"pan"},"binding":{"identity":7}}',
        b"[" * 5000,
    ),
    "signed_message": (
        b'sig1=("@method" "@authority" "@path" "content-digest" "content-type" "idempotency-key")'
        b";created=1795348800\nsig1=:" + b"A" * 86 + b"==:",
        b"sig1=();created=1\nsig1=::",
        b'sig1=("' + b"a" * 5000,
        b"sig1=(" + b'"a" ' * 2000 + b")\nsig1=:AAAA:",
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
    "forward_answer": forward_answer,
    "acp_body": acp_body,
    "ucp_body": ucp_body,
    "signed_message": signed_message,
    "edge": edge,
}
