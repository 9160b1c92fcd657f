"""Requirement 12: scope, third parties, customers, incidents."""

from typing import Final

from compliance_docs.model import (
    Owner,
    Requirement,
    Status,
    assessor,
    merchant,
    model_vendor,
    operator,
    processor,
    tests,
)

REQUIREMENTS: Final = (
    Requirement(
        number="12.3.3",
        ours="Ciphers and protocols in use are listed and reviewed every year.",
        control="In the zone one package imports cryptography, checked by an import contract; in the record one module does. "
        "TLS between the sides is 1.3 only.",
        owner=Owner.ZONE,
        status=Status.PARTLY,
        shown_by=("tests/architecture/test_boundaries.py", "tests/vault_zone/test_seal.py"),
        code=("vault_zone/hazmat/seal.py", "vault_zone/hazmat/pki.py", "audit/note.py", "pyproject.toml"),
        deferral="The list is not generated from the code yet, and the yearly review is by people.",
        duties=(operator("reviews the list each year, with the ciphers of the TLS terminator"),),
    ),
    Requirement(
        number="12.5.1",
        ours="The components in scope are inventoried, with what each is for.",
        control="Processes, stores and channels are data, with a purpose each; a store for every table is enforced.",
        owner=Owner.AUDITOR,
        status=Status.PARTLY,
        shown_by=tests("tests/compliance_docs/test_flows.py", "test_every_table_is_in_one_store"),
        code=("compliance_docs/flows.py::PLACES", "compliance_docs/flows.py::STORES"),
        deferral="Hosts, images and network equipment are those of the installation.",
        duties=(operator("adds hosts, images, network equipment and people"),),
    ),
    Requirement(
        number="12.5.2",
        ours="The scope is documented and confirmed every year and on change: all flows, all places, all connected systems, "
        "and why the rest is out.",
        control="The generated flows say where account data is and is not. Commerce, agents and models are argued out of "
        "scope by absence of path, of type and of text: no import of the zone, no field for a card, refusal of card-like "
        "text at every edge, and a search of memory, files and traffic after a purchase.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=(
            *tests(
                "tests/compliance_docs/test_flows.py",
                "test_account_data_moves_between_shopper_zone_and_processor_alone",
                "test_every_table_is_in_one_store",
            ),
            "tests/architecture/test_boundaries.py",
            "tests/journeys/test_an_agent_buys.py",
        ),
        code=("compliance_docs/flows.py", "examples/demo/leaks.py", "pyproject.toml"),
        deferral="Commerce is connected to the zone and takes part in leading shoppers to it; whether it is out of scope or "
        "connected-to is an assessor's judgement. The confirmation is an act of people.",
        duties=(
            operator("confirms the scope, every six months as a service provider, and signs"),
            assessor("judges the argument"),
        ),
    ),
    Requirement(
        number="12.5.2.1",
        ours="A service provider confirms its scope every six months and on significant change.",
        control="The flows are generated anew with every change, so a change of scope shows as a change of a file.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        shown_by=tests("tests/compliance_docs/test_generate.py", "test_the_generated_documents_are_up_to_date"),
        code=("compliance_docs/generate.py",),
        duties=(operator("confirms and signs"),),
    ),
    Requirement(
        number="12.8.1",
        ours="Third parties that get account data, or could affect it, are listed.",
        control="The processor is the only third party that a flow of account data leads to. A model vendor gets none.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=tests(
            "tests/compliance_docs/test_flows.py",
            "test_account_data_moves_between_shopper_zone_and_processor_alone",
            "test_a_planted_flow_of_cards_to_a_model_is_found_by_the_same_check",
        ),
        code=("compliance_docs/flows.py::FLOWS",),
        deferral="Hosting, TLS termination, log storage and the like are the installation's.",
        duties=(operator("adds its hosting and network providers"),),
    ),
    Requirement(
        number="12.8.2",
        ours="Written agreements bind those third parties to protect what they are given.",
        control="None in software.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        duties=(operator("keeps the agreements"), processor("acknowledges its duty")),
    ),
    Requirement(
        number="12.8.3",
        ours="A third party is examined before it is engaged.",
        control="None in software.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        duties=(operator("examines the processor and the hosting provider"),),
    ),
    Requirement(
        number="12.8.4",
        ours="The third parties' own status is checked every year.",
        control="None in software.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        duties=(operator("asks for the attestations each year"), processor("gives its attestation")),
    ),
    Requirement(
        number="12.8.5",
        ours="It is written down which requirements each third party answers for, and which the entity.",
        control="The responsibility matrix is generated from the register.",
        owner=Owner.AUDITOR,
        status=Status.PARTLY,
        shown_by=tests("tests/compliance_docs/test_generate.py", "test_every_requirement_has_its_row_in_the_matrix"),
        code=("compliance_docs/responsibility.py", "compliance_docs/generated/responsibility-matrix.csv"),
        deferral="It covers what the software touches; the processor's and the host's own matrices have to be joined to it.",
        duties=(
            operator("joins the matrices"),
            processor("gives its matrix"),
            model_vendor("gets no account data, so no requirement is given to it"),
        ),
    ),
    Requirement(
        number="12.9.1",
        ours="A service provider acknowledges to its customers in writing what it answers for.",
        control="None in software: an agreement is needed, a matrix does not replace it.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        duties=(operator("puts the acknowledgement into its contracts"),),
    ),
    Requirement(
        number="12.9.2",
        ours="A service provider tells customers on request how it stands and who answers for what.",
        control="The matrix, as a table and as CSV, is generated from the register and held up to date by a test.",
        owner=Owner.AUDITOR,
        status=Status.IMPLEMENTED,
        shown_by=tests(
            "tests/compliance_docs/test_generate.py",
            "test_the_generated_documents_are_up_to_date",
            "test_every_requirement_has_its_row_in_the_matrix",
        ),
        code=("compliance_docs/responsibility.py", "compliance_docs/generate.py"),
        duties=(operator("hands it out with its own attestation"), merchant("asks for it")),
    ),
    Requirement(
        number="12.10.1",
        ours="There is a plan for incidents, ready to be used.",
        control="What to do in software is built in: refusal, fail closed, recovery.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        duties=(operator("writes and keeps the plan"), merchant("knows whom to call")),
    ),
    Requirement(
        number="12.10.5",
        ours="The plan covers alerts from the security systems, the payment page's tamper detection among them.",
        control="Exit status and health answer are made for monitors.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        shown_by=tests("tests/audit/test_cli.py", "test_an_altered_byte_is_named_and_the_status_is_one"),
        code=("audit/cli.py", "vault_zone/internal_api.py::get_health"),
        duties=(operator("connects them to people on call"),),
    ),
    Requirement(
        number="12.10.7",
        ours="A card number found where none should be is dealt with: contained, erased or moved, its source found and "
        "mended.",
        control="Card-like text is refused at the edge and nothing of it kept, and that this happened is an event. A command "
        "looks for card-like text in a file without printing it; logs are redacted as they are written.",
        owner=Owner.COMMERCE,
        status=Status.PARTLY,
        shown_by=(
            "tests/tokenization/scanner",
            "tests/mcp_server",
            *tests("tests/commerce_api/catalogue/test_feed.py", "test_card_like_text_is_refused_wherever_it_stands"),
            *tests(
                "tests/journeys/test_an_agent_buys.py",
                "test_an_agent_buys_and_the_card_is_nowhere_but_on_its_way_to_the_processor",
            ),
        ),
        code=(
            "commerce_api/app.py::refusal_recorder",
            "commerce_api/cli/scan.py",
            "tokenization/logs.py::ScrubbedJson",
        ),
        deferral="The runbook and the record of a drill are to be written; an assessor asks for records of what was done.",
        duties=(
            operator("practises it each year and keeps the record"),
            model_vendor("erases a conversation on request"),
        ),
    ),
)
