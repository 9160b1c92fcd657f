"""Writes a bill of materials (CycloneDX 1.6, JSON) for the zone and each of its extras, from their locks.

    python deploy/bills.py            writes deploy/sbom/*.cdx.json
    python deploy/bills.py --check    returns 1 if one of them is not what the locks say

What must hold of each (PCI DSS 6.3.2):
 1. It names every distribution of the lock with its version, and nothing else.
 2. It names for each the hashes of the lock: the bytes that an installation accepts.
 3. It names for each its licence, as the distribution's own metadata says, and what it needs, for Linux and CPython 3.11.
 4. The same lock gives the same bytes, on every machine and day: no time, and a serial number made from the content.
 5. It is valid by the published schema, or it is not written.
"""

import json
import re
import sys
import uuid
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS, OUT = ROOT / "deploy" / "locks", ROOT / "deploy" / "sbom"
sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []

from deploy.requirements import requirements  # noqa: E402  # a script beside it, whatever directory this one is run from
from deployables import BASE_VERSION  # noqa: E402

WANTED = {
    "zone": ("zone",),
    "zone-vault": ("zone", "zone:vault"),
    "zone-pkcs11": ("zone", "zone:pkcs11"),
    "zone-stripe": ("zone", "zone:stripe"),
    "zone-adyen": ("zone", "zone:adyen"),
}  # each lock, and the requirements that it was made from
_LOCKED = re.compile(
    r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\\n]+)[^\n]*\n((?: +--hash=sha256:[0-9a-f]{64}[ \\]*\n)*)", re.MULTILINE
)
_MACHINE = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.0",
    "python_version": "3.11",
    "sys_platform": "linux",
}


class Locked(NamedTuple):
    """One distribution of a lock."""

    name: str
    version: str
    hashes: tuple[str, ...]


class NotInstalled(Exception):
    """The environment does not hold what the lock names: run `make install` first, and the licences can be read."""


def locked(lock_text: str) -> dict[str, Locked]:
    """The distributions of a lock, by name."""
    found = [
        Locked(canonicalize_name(name), version, tuple(re.findall(r"sha256:([0-9a-f]{64})", hashes)))
        for name, version, hashes in _LOCKED.findall(lock_text)
    ]
    return {entry.name: entry for entry in found}


def bill(lock_text: str, direct: list[str], name: str) -> str:
    """The bill of materials of a lock, as JSON text that ends in a line feed. Raises NotInstalled, ValueError (5)."""
    entries = locked(lock_text)
    whole = Component(
        name="cordon",
        version=f"{BASE_VERSION}+zone",
        type=ComponentType.APPLICATION,
        bom_ref="cordon",
        properties=[
            Property(name="cordon:lock", value=f"deploy/locks/{name}.txt"),
            Property(name="cordon:hashes", value="each file that the lock accepts"),
        ],
    )
    components = {entry.name: _component(entry) for entry in entries.values()}  # (1)
    bom = Bom(components=components.values())
    bom.metadata.component = whole
    bom.register_dependency(whole, [components[needed] for needed in _names(direct) if needed in components])
    extras = _extras(direct, entries)
    for entry in entries.values():  # (3)
        needed = _needs(entry, extras.get(entry.name, set()))
        bom.register_dependency(components[entry.name], [components[n] for n in needed if n in components])
    return _fixed(json.loads(JsonV1Dot6(bom).output_as_string()))


def _component(entry: Locked) -> Component:
    installed = _installed(entry)
    return Component(
        name=entry.name,
        version=entry.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{entry.name}=={entry.version}",
        purl=PackageURL("pypi", None, entry.name, entry.version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=content) for content in entry.hashes],  # (2)
        licenses=[LicenseFactory().make_from_string(licence_of(installed))] if installed else [],
    )


def licence_of(installed: Distribution) -> str:
    """The licence in a distribution's metadata: an SPDX expression where it gives one, else its classifiers or first line."""
    metadata = installed.metadata
    if expression := metadata.get("License-Expression"):
        return expression
    classified = [
        c.rsplit("::", 1)[1].strip() for c in metadata.get_all("Classifier", []) if c.startswith("License ::")
    ]
    stated = (metadata.get("License") or "").strip().splitlines()
    return " AND ".join(sorted(classified)) or (stated[0][:100] if stated else "unknown")


def _installed(entry: Locked) -> Distribution | None:
    try:
        found = distribution(entry.name)
    except PackageNotFoundError:
        return None  # one for other machines
    if found.version != entry.version:
        raise NotInstalled(f"{entry.name} {entry.version} is locked and {found.version} installed: run `make install`")
    return found


def _needs(entry: Locked, extras: set[str]) -> list[str]:
    installed = _installed(entry)
    stated = [Requirement(text) for text in (installed.requires or [])] if installed else []
    return _names([str(r.name) for r in stated if any(_applies(r, extra) for extra in ("", *extras))])


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**_MACHINE, "extra": extra})


def _extras(direct: list[str], entries: dict[str, Locked]) -> dict[str, set[str]]:
    """The extras that somebody asks for, by distribution."""
    asked = [Requirement(text) for text in direct]
    for entry in entries.values():
        installed = _installed(entry)
        asked += [r for r in map(Requirement, (installed.requires or []) if installed else []) if _applies(r, "")]
    found: dict[str, set[str]] = {}
    for requirement in asked:
        found.setdefault(canonicalize_name(requirement.name), set()).update(requirement.extras)
    return found


def _names(texts: list[str]) -> list[str]:
    return sorted({canonicalize_name(Requirement(text).name) for text in texts})


def _fixed(content: dict[str, Any]) -> str:
    content["metadata"].pop("timestamp", None)  # (4)
    content.pop("serialNumber", None)
    content["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(content, sort_keys=True))}"
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    if (fault := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)) is not None:  # (5)
        raise ValueError(f"not valid CycloneDX 1.6: {fault}")
    return text


def bills() -> dict[str, str]:
    """Every bill of materials, by its file's name."""
    return {
        f"{name}.cdx.json": bill(
            (LOCKS / f"{name}.txt").read_text(encoding="utf-8"),
            [line for each in wanted for line in requirements(each)],
            name,
        )
        for name, wanted in WANTED.items()
    }


def main(arguments: list[str]) -> int:
    """Writes, or with --check compares, the files."""
    stale = []
    for file, text in bills().items():
        path = OUT / file
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
    sys.stderr.writelines(f"{path} is not what its lock says: run `make sbom`\n" for path in stale)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
