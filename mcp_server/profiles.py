"""Which endpoint a path names. A host whose rules differ from the others' has an endpoint of its own, with the rest the same:

/BRAND/mcp          what any host gets. Payment tokens are taken where the brand's policy lets assistants pay.
/BRAND/mcp/claude   for hosts that list no server which executes payments (Anthropic's Software Directory Policy): checkout ends
                    in an address, and there is no argument for a token.
/BRAND/mcp/chatgpt  for ChatGPT: what is lacking is told in the result of the call, where its sign-in looks for it
                    (``mcp/www_authenticate``), and ``complete_checkout`` has its payment sheet's arguments, where the brand's
                    policy has ``chatgpt_sheet`` (a private beta of OpenAI's).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from commerce_api.links import MCP_PROFILES


@dataclass(frozen=True, slots=True)
class Profile:
    """An endpoint: ``name`` is the last part of its path, empty for the one that any host gets."""

    name: str = ""
    takes_tokens: bool = True
    has_sheet: bool = False
    challenges_in_results: bool = False


AGENT_ENDPOINT: Final = "a2a"
OPEN: Final = Profile()
CLAUDE: Final = Profile("claude", takes_tokens=False)
CHATGPT: Final = Profile("chatgpt", has_sheet=True, challenges_in_results=True)
PROFILES: Final = dict(zip(MCP_PROFILES, (OPEN, CLAUDE, CHATGPT), strict=True))


def endpoint_named(parts: Sequence[str]) -> tuple[str, Profile] | None:
    """The brand and the profile of an endpoint's path, or None where it is none."""
    match list(parts):
        case [brand, "mcp"] if brand:
            return brand, OPEN
        case [brand, "mcp", name] if brand and name and name in PROFILES:
            return brand, PROFILES[name]
    return None


def door_of(path: str) -> tuple[str, Profile] | None:
    """As endpoint_named(), for a request's path. The brand's agent (a2a.py) is behind the door that any host has."""
    parts = path.strip("/").split("/")
    return (parts[0], OPEN) if parts[1:] == [AGENT_ENDPOINT] else endpoint_named(parts)
