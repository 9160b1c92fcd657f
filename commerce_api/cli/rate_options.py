"""The options of a listener that say how often a client may call, and whose word on its address counts."""

import argparse
import ipaddress

from commerce_api.rates import ANONYMOUS_PER_SECOND, Limits

RATE_MAXIMUM = 100_000.0


def add_rate_options(parser: argparse.ArgumentParser, *, keyed_per_second: int) -> None:
    """Adds them. ``keyed_per_second`` is the default for who presents what is right."""
    parser.add_argument(
        "--anonymous-calls-per-second",
        type=_rate,
        default=ANONYMOUS_PER_SECOND,
        metavar="N",
        help="of one address without a key; ten seconds' worth at once (default: %(default)s)",
    )
    parser.add_argument(
        "--keyed-calls-per-second",
        type=_rate,
        default=keyed_per_second,
        metavar="N",
        help="of one address with a key (default: %(default)s)",
    )
    parser.add_argument(
        "--trusted-proxy",
        type=ipaddress.ip_network,
        action="append",
        default=[],
        metavar="CIDR",
        help="an address or network whose X-Forwarded-For is believed; may be given again",
    )


def limits_of(arguments: argparse.Namespace) -> Limits:
    """What they say."""
    return Limits(
        arguments.anonymous_calls_per_second, arguments.keyed_calls_per_second, tuple(arguments.trusted_proxy)
    )


def _rate(text: str) -> float:
    number = float(text)
    if not 0 < number <= RATE_MAXIMUM:
        raise ValueError
    return number
