"""The deployment files keep the wall: networks that deny by default, hardened containers, secrets as files."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it comes with bandit

from tests.architecture.repository import HOLDS, ROOT

Compose = dict[str, Any]
DEPLOY = ROOT / "deploy"
COMPOSE: Compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
WAYS_OUT = {
    "processor-egress": {"zone"},
    "front": {"commerce", "mcp"},
}  # the networks that are not internal, and who is on them
WALL = "wall"
DATA = "/var/lib/cordon"
ZONE_SIDE = {"zone", "zone-migrate", "zone-database", "zone-setup"}
SECRET_WORDS = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)


def services(compose: Compose) -> dict[str, dict[str, Any]]:
    """The services, by name."""
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def on(compose: Compose, network: str) -> set[str]:
    """Who is on a network."""
    return {name for name, service in services(compose).items() if network in service.get("networks", [])}


def open_networks(compose: Compose) -> list[str]:
    """Networks with a way out, or with members, that the table above does not allow."""
    open_ones = {name for name, network in compose["networks"].items() if not (network or {}).get("internal")}
    wrong = [name for name in open_ones if on(compose, name) != WAYS_OUT.get(name)]
    unnamed = [n for n, s in services(compose).items() if not s.get("networks") and s.get("network_mode") != "none"]
    return sorted(wrong + unnamed)


def shared_networks(compose: Compose) -> list[str]:
    """Networks other than the wall on which the zone's side meets anybody else, and the wall where a database is on it."""
    meeting = [
        name for name in compose["networks"] if len({service in ZONE_SIDE for service in on(compose, name)}) == 2
    ]
    databases = [name for name in on(compose, WALL) if name.endswith("-database")]
    return [name for name in meeting if name != WALL] + databases


def soft_spots(compose: Compose) -> list[str]:
    """What a container may do that it need not."""
    wrong = []
    for name, service in services(compose).items():
        hardened = (
            service.get("read_only") is True
            and service.get("cap_drop") == ["ALL"]
            and "no-new-privileges:true" in service.get("security_opt", [])
            and service.get("user", "0").split(":")[0] not in ("0", "root")
            and not {"privileged", "cap_add", "devices", "pid", "ipc", "userns_mode"} & service.keys()
            and service.get("network_mode", "none") == "none"
        )
        wrong += [] if hardened else [name]
    return wrong


def swappable(compose: Compose) -> list[str]:
    """What keeps the zone's memory from being locked, or lets a core or a page of it reach a disk."""
    zone = services(compose)["zone"]
    kept = {"core": 0, "memlock": -1}
    limits = [f"zone {name}" for name, limit in kept.items() if zone.get("ulimits", {}).get(name) != limit]
    return limits + (["zone swap"] if zone.get("memswap_limit") != zone.get("mem_limit") else [])


def unwatched(compose: Compose) -> list[str]:
    """Services that run on and are not asked whether they are well."""
    running = {name: service for name, service in services(compose).items() if service.get("restart") != "no"}
    return [name for name, service in running.items() if "test" not in service.get("healthcheck", {})]


def secrets_in_sight(compose: Compose) -> list[str]:
    """Secrets in the environment or on a command line, where every process of the machine's owner can read them."""
    wrong = []
    for name, service in services(compose).items():
        for variable, value in service.get("environment", {}).items():
            if SECRET_WORDS.search(variable) and not str(value).startswith("/run/secrets/"):
                wrong.append(f"{name} {variable}")
        arguments = " ".join(service.get("command", []))
        if re.search(r"://[^/\s]*:[^/\s]*@", arguments) or SECRET_WORDS.search(re.sub(r"\$\{[^}]*\}", "", arguments)):
            wrong.append(f"{name} command")
    return wrong + [name for name, secret in compose["secrets"].items() if set(secret) != {"file"}]


def public_ports(compose: Compose) -> list[str]:
    """Ports published beyond the machine, and any way to the zone's internal API or a database from outside."""
    ports = [(name, port) for name, service in services(compose).items() for port in service.get("ports", [])]
    return [
        f"{name} {port}"
        for name, port in ports
        if not str(port).startswith("127.0.0.1:") or name.endswith("-database") or str(port).endswith(":8702")
    ]


def stray_volumes(compose: Compose) -> list[str]:
    """Volumes of one side in a container of the other, and directories of the host."""
    wrong = []
    for name, service in services(compose).items():
        side = "zone" if name in ZONE_SIDE else "commerce"
        for source, _, read_only in map(mount, service.get("volumes", [])):
            is_own = source.startswith(f"{side}-") and name != "auditor"
            is_handed_over = (name, source) == ("zone-setup", "commerce-tls")
            is_read_log = name == "auditor" and source.endswith("-log") and read_only
            wrong += [] if is_own or is_handed_over or is_read_log else [f"{name} {source}"]
    return wrong


def open_keys(compose: Compose) -> list[str]:
    """Keys and identities that a serving process could change, and any service but the setup that holds the authority's key."""
    wrong = []
    for name, service in services(compose).items():
        mounts = {target: (source, read_only) for source, target, read_only in map(mount, service.get("volumes", []))}
        if name.endswith("-setup") or DATA not in mounts:
            continue
        _, is_sealed = mounts[DATA]
        for part in ("keys", "tls"):
            wrong += [] if mounts.get(f"{DATA}/{part}", ("", is_sealed))[1] else [f"{name} {part}"]
        wrong += [name for source, _ in mounts.values() if source == "zone-authority"]
    return wrong


def served_by_owners(compose: Compose) -> list[str]:
    """Services that could do to their tables what their owner can, and migrations that leave nobody else to serve them."""
    wrong = []
    for name, service in services(compose).items():
        side = "zone" if name in ZONE_SIDE else "commerce"
        own = {f"{side}-database"} if name.endswith("-database") else {f"{side}-owner-pgpass", f"{side}-serving"}
        arguments = " ".join(service.get("command", []))
        if name.endswith("-migrate"):
            is_sound = f"--serve-as={side}_serving" in arguments and service.get("restart") == "no"
        elif "--database-url" in arguments:
            waits = {"zone": "zone-migrate", "commerce": "commerce-migrate", "mcp": "commerce"}[name]
            is_sound = f"postgresql://{side}_serving@" in arguments and waits in service["depends_on"]
        else:
            is_sound = True
        may_hold = own if name.endswith(("-migrate", "-database")) else {f"{side}-pgpass"}
        wrong += [] if is_sound and set(service.get("secrets", [])) <= may_hold else [name]
    return wrong


def mount(volume: Any) -> tuple[str, str, bool]:
    """A mount's source, its target and whether it is read-only, from either of Compose's two notations."""
    if isinstance(volume, dict):
        return volume["source"], volume["target"], volume.get("read_only", False)
    source, target, *options = str(volume).split(":")
    return source, target, options == ["ro"]


CHECKS = [
    open_networks,
    shared_networks,
    soft_spots,
    swappable,
    unwatched,
    secrets_in_sight,
    public_ports,
    stray_volumes,
    open_keys,
    served_by_owners,
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_compose_file_keeps_the_wall(check: Callable[[Compose], list[str]]) -> None:
    assert check(COMPOSE) == []


def test_commerce_and_the_zone_meet_on_the_wall_only() -> None:
    assert on(COMPOSE, WALL) == {"zone", "commerce", "mcp"}
    assert set(services(COMPOSE)) >= ZONE_SIDE


def _set(compose: Compose, path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for part in parents:
        compose = compose[part]
    compose[last] = value


@pytest.mark.parametrize(
    ("check", "path", "planted"),
    [
        (open_networks, "networks/wall", {}),
        (open_networks, "networks/zone-store/internal", False),
        (open_networks, "services/commerce/networks", ["front", "wall", "commerce-store", "processor-egress"]),
        (open_networks, "services/auditor/network_mode", "bridge"),
        (shared_networks, "services/commerce/networks", ["wall", "zone-store"]),
        (shared_networks, "services/zone-database/networks", ["zone-store", "wall"]),
        (soft_spots, "services/zone/read_only", False),
        (soft_spots, "services/zone/cap_drop", ["NET_RAW"]),
        (soft_spots, "services/zone/security_opt", []),
        (soft_spots, "services/commerce/user", "root"),
        (soft_spots, "services/zone/privileged", True),
        (soft_spots, "services/auditor/network_mode", "host"),
        (swappable, "services/zone/ulimits/memlock", 8388608),
        (swappable, "services/zone/ulimits/core", -1),
        (swappable, "services/zone/memswap_limit", "2g"),
        (unwatched, "services/zone/healthcheck", {"disable": True}),
        (secrets_in_sight, "services/zone/environment/API_KEY", "abc"),
        (secrets_in_sight, "services/zone-database/environment/POSTGRES_PASSWORD", "abc"),
        (secrets_in_sight, "services/zone/command", ["serve", "--database-url=postgresql://zone:abc@db/zone"]),
        (secrets_in_sight, "secrets/zone-pgpass", {"environment": "PGPASS"}),
        (public_ports, "services/zone/ports", ["8701:8701"]),
        (public_ports, "services/zone/ports", ["127.0.0.1:8702:8702"]),
        (public_ports, "services/zone-database/ports", ["127.0.0.1:5432:5432"]),
        (stray_volumes, "services/commerce/volumes", ["zone-data:/stolen:ro"]),
        (stray_volumes, "services/auditor/volumes", ["zone-data:/logs:ro"]),
        (stray_volumes, "services/zone/volumes", ["/var/run/docker.sock:/var/run/docker.sock"]),
        (stray_volumes, "services/auditor/volumes", ["zone-log:/logs/zone"]),
        (open_keys, "services/zone/volumes", ["zone-data:/var/lib/cordon", "zone-tls:/var/lib/cordon/tls:ro"]),
        (open_keys, "services/mcp/volumes", ["commerce-data:/var/lib/cordon:ro", "x:/var/lib/cordon/tls"]),
        (open_keys, "services/zone/volumes", ["zone-data:/var/lib/cordon:ro", "zone-authority:/authority:ro"]),
        (served_by_owners, "services/zone/command", ["serve", "--database-url=postgresql://zone@zone-database/zone"]),
        (served_by_owners, "services/mcp/command", ["--database-url=postgresql://commerce@commerce-database/commerce"]),
        (served_by_owners, "services/commerce/secrets", ["commerce-pgpass", "commerce-owner-pgpass"]),
        (served_by_owners, "services/commerce/depends_on", {"zone": {"condition": "service_healthy"}}),
        (served_by_owners, "services/zone-migrate/command", ["migrate"]),
        (served_by_owners, "services/commerce-migrate/restart", "always"),
    ],
)
def test_a_gap_in_the_compose_file_is_seen(check: Callable[[Compose], list[str]], path: str, planted: Any) -> None:
    compose = copy.deepcopy(COMPOSE)
    _set(compose, path, planted)
    assert len(check(compose)) == 1


def copied_from_outside(dockerfile: str) -> set[str]:
    """What an image takes from the build context."""
    return {line.split()[1] for line in dockerfile.splitlines() if re.match(r"(COPY|ADD) (?!--from=build )", line)}


@pytest.mark.parametrize("name", HOLDS)
def test_an_image_is_made_of_its_wheel_and_its_lock_and_checks_what_it_cannot_import(name: str) -> None:
    dockerfile = (DEPLOY / f"{name}.Dockerfile").read_text(encoding="utf-8")
    ignored = (DEPLOY / f"{name}.Dockerfile.dockerignore").read_text(encoding="utf-8")
    locks = "zone*" if name == "zone" else name  # the zone's extras have a lock each
    needed = {f"dist/cordon-*+{name}-*.whl", f"deploy/locks/{locks}.txt"}
    assert copied_from_outside(dockerfile) == needed
    assert {line for line in ignored.splitlines() if not line.startswith("#")} == {
        "*",
        *(f"!{path}" for path in needed),
    }
    assert "--require-hashes --only-binary :all:" in dockerfile
    assert dockerfile.index("USER 10001:10001") < dockerfile.index("find_spec") < dockerfile.index("ENTRYPOINT")
    everything = {package for packages in HOLDS.values() for package in packages}
    assert {package for package in everything if f"'{package}'" in dockerfile} == everything - set(HOLDS[name])


def test_a_file_that_an_image_takes_besides_is_seen() -> None:
    assert copied_from_outside("COPY . /app\nCOPY --from=build /opt /opt\nADD x y\n") == {".", "x"}
