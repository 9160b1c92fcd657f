"""Requirements 1, 2 and 4: who can reach what, how systems are set up, and how data travels."""

from typing import Final

from compliance_docs.model import Owner, Requirement, Status, merchant, operator, processor, tests

_AS_WRITTEN: Final = (
    "The deployment is checked as it is written: no test probes running networks, and the processor's network is not "
    "narrowed to the processor's address, which is the host firewall's part."
)

REQUIREMENTS: Final = (
    Requirement(
        number="1.2.3",
        ours="A current network diagram shows every connection between the card environment and anything else.",
        control="The diagram is generated from the data flows; a test fails when the code opens or accepts a connection "
        "that no flow names.",
        owner=Owner.AUDITOR,
        status=Status.PARTLY,
        shown_by=tests(
            "tests/compliance_docs/test_flows.py",
            "test_every_file_that_connects_or_listens_is_named_by_a_flow",
            "test_a_planted_connection_is_found_by_the_same_check",
        ),
        code=("compliance_docs/flows.py::FLOWS", "compliance_docs/generated/data-flow.md", "deploy/compose.yaml"),
        deferral="It shows processes and channels; the networks of the deployment stand in its compose file. Hosts, subnets "
        "and firewalls are those of the installation.",
        duties=(operator("draws the installation's hosts, subnets and firewalls around it and keeps that current"),),
    ),
    Requirement(
        number="1.2.4",
        ours="A current data-flow diagram shows every flow of account data across systems and networks.",
        control="Flows and stores are data; diagram and table are generated from them, and a test holds them against the "
        "databases' tables and the lifetimes in the code.",
        owner=Owner.AUDITOR,
        status=Status.IMPLEMENTED,
        shown_by=tests(
            "tests/compliance_docs/test_flows.py",
            "test_every_table_is_in_one_store",
            "test_stated_lifetimes_are_those_of_the_code",
            "test_account_data_moves_between_shopper_zone_and_processor_alone",
        ),
        code=("compliance_docs/flows.py::FLOWS", "compliance_docs/flows.py::STORES"),
        duties=(operator("adds what surrounds the software: TLS termination, backups, log shipping"),),
    ),
    Requirement(
        number="1.2.5",
        ours="Every service, protocol and port that is allowed is identified, approved and has a business need.",
        control="Two listeners in the zone, one in commerce, one for MCP; each is a flow with its purpose. The zone's "
        "public listener offers the card page, its assets, the processor's webhooks and a health word, no API description.",
        owner=Owner.ZONE,
        status=Status.PARTLY,
        shown_by=tests(
            "tests/compliance_docs/test_flows.py",
            "test_every_file_that_connects_or_listens_is_named_by_a_flow",
        ),
        code=(
            "vault_zone/serve.py::internal_config",
            "vault_zone/serve.py::public_config",
            "vault_zone/public_pages.py",
        ),
        deferral="Approval of what is opened in a firewall is an act of the installation's owner.",
        duties=(operator("opens only these ports and approves each"),),
    ),
    Requirement(
        number="1.3.1",
        ours="Only necessary traffic comes into the card environment.",
        control="The internal listener demands a client certificate of the zone's own authority before a byte of HTTP is "
        "read; bodies are bounded in size and time on both listeners. In the deployment commerce and zone share one network, "
        "and the internal port is published nowhere.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=("tests/vault_zone/test_access.py", "tests/architecture/test_deploy.py"),
        code=("vault_zone/serve.py::internal_config", "tokenization/edge.py::BodyLimit", "deploy/compose.yaml"),
        deferral=_AS_WRITTEN,
        duties=(operator("denies by default; lets shoppers reach the card page and commerce the internal port"),),
    ),
    Requirement(
        number="1.3.2",
        ours="Only necessary traffic leaves the card environment.",
        control="The zone connects to its database, to one processor address given at start, to the key service or module that "
        "its keys directory names, if one, and to the destinations of a list that is signed and numbered, never to an address "
        "that a caller names. It follows no redirect, heeds no proxy of the "
        "environment and, in production, forwards to no name that points inside a network. It imports no model SDK and no "
        "commerce code. Of its networks in the deployment one leads out.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=(
            *tests(
                "tests/vault_zone/forward/test_sending.py",
                "test_in_production_a_name_that_points_inside_is_not_followed",
            ),
            *tests(
                "tests/vault_zone/forward/test_sending.py",
                "test_whatever_the_destination_does_it_is_asked_once_and_told_apart",
            ),
            *tests(
                "tests/vault_zone/forward/test_allowlist.py",
                "test_an_older_list_and_another_of_the_same_number_are_refused",
            ),
            *tests(
                "tests/vault_zone/forward/test_allowlist.py", "test_a_list_that_is_not_the_signed_one_forwards_nothing"
            ),
            *tests(
                "tests/compliance_docs/test_flows.py",
                "test_every_file_that_connects_or_listens_is_named_by_a_flow",
                "test_the_zone_connects_to_its_database_its_processor_and_its_key_provider_alone",
            ),
            "tests/architecture/test_boundaries.py",
            "tests/architecture/test_deploy.py",
        ),
        code=(
            "vault_zone/forward/allowlist.py::SignedList",
            "vault_zone/forward/sending.py::Sender",
            "vault_zone/processors/sandbox.py::SandboxProcessor",
            "vault_zone/processors/stripe_transport.py::StripeTransport",
            "vault_zone/processors/adyen_transport.py::AdyenTransport",
            "deploy/compose.yaml",
        ),
        deferral=_AS_WRITTEN,
        duties=(
            operator("allows egress to processor, listed destinations and database only, and logs what is denied"),
        ),
    ),
    Requirement(
        number="1.4.2",
        ours="From untrusted networks only what is meant for the public can be reached.",
        control="The public listener serves what is behind a one-time link and nothing that lists or searches; the internal "
        "API is a separate listener on its own address.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=("tests/vault_zone/test_public_pages.py", "tests/architecture/test_deploy.py"),
        code=("vault_zone/app.py::public_app", "vault_zone/app.py::internal_app", "deploy/compose.yaml"),
        deferral=_AS_WRITTEN,
        duties=(operator("publishes the public listener only, behind TLS"),),
    ),
    Requirement(
        number="1.4.4",
        ours="What stores card data cannot be reached from an untrusted network.",
        control="Card data lies in the zone's own database, with credentials that commerce does not have; production demands "
        "PostgreSQL. In the deployment its database stands in an internal network that only the zone shares.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=(
            *tests("tests/compliance_docs/test_flows.py", "test_card_data_is_stored_in_the_zone_alone"),
            "tests/architecture/test_deploy.py",
        ),
        code=("vault_zone/settings.py::ZoneSettings", "deploy/compose.yaml"),
        deferral=_AS_WRITTEN,
        duties=(operator("places the zone's database in an internal segment that the internet cannot reach"),),
    ),
    Requirement(
        number="2.2.1",
        ours="Systems are set up by a written, hardened standard.",
        control="Settings are read once, checked as a whole before anything starts, and refused with every problem named; "
        "the process forbids core dumps and being attached to, locks its memory where it may, drops what it does not know "
        "of its environment, and reports what the system refused. Containers are read-only, without capabilities, not root.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=("tests/architecture/test_deploy.py", "tests/vault_zone/test_process.py"),
        code=(
            "vault_zone/settings.py::ZoneSettings.read",
            "vault_zone/hazmat/process.py::harden_process",
            "vault_zone/environment.py::lock_environment",
            "vault_zone/cli/harden.py",
            "deploy/compose.yaml",
        ),
        deferral="Hardening of hosts and of the database is outside the software, and no test starts the zone with broken "
        "settings yet.",
        duties=(operator("keeps a hardening standard for hosts, containers and the database"),),
    ),
    Requirement(
        number="2.2.2",
        ours="Nothing runs on accounts or passwords that came with the product.",
        control="No secret has a default: keys, certificates and API keys are made at set-up from the operating system's "
        "randomness; keys made for development are refused in production, and so is the sandbox processor.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests(
                "tests/vault_zone/processors/sandbox_server/test_serve.py",
                "test_it_does_not_start_without_any_of_what_it_needs",
                "test_it_does_not_start_on_a_secret_that_is_none",
                "test_it_does_not_start_in_production",
            ),
            "tests/vault_zone/hazmat/test_local.py",
        ),
        code=("vault_zone/hazmat/local.py::LocalKeys.open", "vault_zone/cli/setup.py", "commerce_api/cli/init.py"),
        duties=(operator("changes the defaults of database, host and cloud"),),
    ),
    Requirement(
        number="2.2.4",
        ours="Only what is needed is switched on.",
        control="A deployable's wheel holds its packages and dependencies and no more; API documentation pages, access logs "
        "and server banners are off.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=("tests/architecture/test_deployables.py",),
        code=("deployables.py::DeployableHook", "vault_zone/serve.py", "pyproject.toml"),
        duties=(operator("does the same for hosts and images"),),
    ),
    Requirement(
        number="2.2.6",
        ours="Security settings are such that misuse is prevented.",
        control="Security-relevant settings are constants in the code with their reason beside them; what an operator can "
        "set cannot switch off TLS between the sides, the card guard or the record. Variables that would open the process "
        "are refused in production; a client's own word for its address is believed from named proxies alone.",
        owner=Owner.ZONE,
        status=Status.PARTLY,
        shown_by=("tests/vault_zone/test_environment.py", "tests/vault_zone/test_addresses.py"),
        code=(
            "vault_zone/settings.py::ZoneSettings",
            "vault_zone/serve.py::internal_config",
            "vault_zone/environment.py::refused_variables",
            "tokenization/addresses.py::origin_of",
        ),
        deferral="No test tries every setting to show that none of them weakens a guard.",
    ),
    Requirement(
        number="2.2.7",
        ours="Administration that is not at the console is encrypted.",
        control="There is no administrative interface over a network: administration is the command line on the host.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        code=("vault_zone/cli/setup.py", "vault_zone/roles.py::Verb"),
        duties=(operator("uses SSH or an equivalent for access to the zone's hosts"),),
    ),
    Requirement(
        number="4.2.1",
        ours="Card data on open networks travels under strong cryptography, with certificates that are checked.",
        control="In production the card page's address and the processor's must be https, and certificates are verified; "
        "between the sides TLS 1.3 with certificates on both ends. Pages over https carry HSTS.",
        owner=Owner.ZONE,
        status=Status.PARTLY,
        shown_by=(
            *tests("tests/vault_zone/forward/test_sending.py", "test_a_certificate_for_another_name_gets_nothing"),
            "tests/vault_zone/hazmat/test_vault_transit.py",
            *tests(
                "tests/vault_zone/pages/test_render.py",
                "test_transport_security_is_demanded_over_https_alone",
                "test_links_that_are_not_secure_are_refused",
            ),
            *tests(
                "tests/vault_zone/test_admission.py",
                "test_a_certificate_is_taken_only_if_everything_about_it_is_right",
                "test_nothing_older_than_tls_1_3_is_spoken",
                "test_a_renewed_certificate_is_shown_to_new_connections_and_open_ones_go_on",
                "test_commerce_takes_up_a_renewed_certificate_without_a_restart",
            ),
        ),
        code=("vault_zone/settings.py::ZoneSettings.read", "vault_zone/admission.py::read_admitted"),
        deferral="The zone does not end the shopper's TLS itself: the terminator in front of the card page sees cards in "
        "clear and belongs to the card environment. No test runs the zone in production settings yet.",
        duties=(
            operator("ends shoppers' TLS inside the card environment, with current protocols and ciphers"),
            processor("offers TLS with a certificate of a public authority"),
        ),
    ),
    Requirement(
        number="4.2.1.1",
        ours="The keys and certificates that protect card data in transit are inventoried.",
        control="Every certificate that the authority issues stands in one file with its identity, use, serial and end, and a "
        "command prints it, also as JSON. The zone records each that is issued or revoked. The list of forward destinations "
        "names the authority of each, where it is not the system's.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=(
            *tests(
                "tests/vault_zone/test_admission.py",
                "test_what_the_files_tell_is_recorded_once_however_often_it_is_read",
            ),
            *tests("tests/vault_zone/forward/test_sending.py", "test_a_certificate_of_another_authority_gets_nothing"),
            *tests("tests/vault_zone/cli/test_access.py", "test_the_inventory_lists_every_certificate_with_its_end"),
        ),
        code=("vault_zone/cli/access.py::inventory", "vault_zone/access_file.py", "vault_zone/inventory.py"),
        deferral="The certificate of the public address and those of processors are not the zone's to issue, and do not stand "
        "in it.",
        duties=(operator("keeps the list of certificates that others issue, the public one included"),),
    ),
    Requirement(
        number="4.2.2",
        ours="No unprotected card number is sent by chat, mail or other messaging.",
        control="Conversation channels take and give no card data: text that looks like a card number is refused before it "
        "is logged, stored or passed on, also when split over several messages; the shopper is led to the card page by a "
        "link. No tool and no API field exists for a card.",
        owner=Owner.COMMERCE,
        status=Status.IMPLEMENTED,
        shown_by=(
            "tests/tokenization/scanner",
            "tests/mcp_server",
            "tests/journeys/test_an_agent_buys.py",
            *tests("tests/commerce_api/pages/test_render.py", "test_no_page_has_a_field_of_any_kind"),
        ),
        code=("tokenization/edge.py::CardGuard", "mcp_server/handoff.py::hand_off", "mcp_server/app.py::mcp_app"),
        duties=(merchant("keeps card numbers out of channels that do not pass through Cordon"),),
    ),
)
