"""Requirements 7 and 8: who, and which program, may do what, and how they prove who they are."""

from typing import Final

from compliance_docs.model import Owner, Requirement, Status, merchant, operator, tests

REQUIREMENTS: Final = (
    Requirement(
        number="7.2.1",
        ours="There is a model of who may have which access: by need, by job, and no more than the job takes.",
        control="Every right stands in one table of roles: programs, key managers, card managers, access managers, auditors, "
        "custodians. Nobody who manages keys gives out access, who reads the record changes nothing, and acts that lose "
        "cards take two.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=tests(
            "tests/vault_zone/test_access.py", "test_nobody_has_every_verb_and_nobody_who_manages_keys_gives_access"
        ),
        code=("vault_zone/roles.py::ROLES", "vault_zone/operations.py::VERBS"),
        duties=(operator("writes down which job has which role"),),
    ),
    Requirement(
        number="7.2.2",
        ours="People and programs are given access by their job and with the least rights it takes.",
        control="An identity has one role for the merchants that are named for it; in production they have to be named.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=tests(
            "tests/vault_zone/test_access.py", "test_an_identity_may_do_what_its_role_says_and_nothing_else"
        ),
        code=("vault_zone/access_file.py", "vault_zone/cli/identity.py"),
        deferral="Which person has which job is not known to the software.",
        duties=(operator("gives each identity the role of its job, for its own merchants alone"),),
    ),
    Requirement(
        number="7.2.4",
        ours="All accounts and their rights are reviewed every half year, those of other parties included.",
        control="One command prints every identity with role, merchants and certificates; the zone keeps who was given what.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        shown_by=tests(
            "tests/vault_zone/cli/test_access.py", "test_the_inventory_lists_every_certificate_with_its_end"
        ),
        code=("vault_zone/cli/access.py::inventory", "vault_zone/inventory.py::record_inventory"),
        duties=(operator("reviews the list every six months, takes away what is not needed, and has it signed"),),
    ),
    Requirement(
        number="7.2.5",
        ours="Application and system accounts have the least rights they need, and are limited to what needs them.",
        control="A caller of the zone is the identity its certificate names: a service, an operator or a custodian. It has "
        "one role for the merchants that are listed for it; a table says which verbs a role has, and every route is "
        "one verb. No verb reads a card. Each side has its own database and credentials, and is served by a role that does not "
        "own the tables and has stated rights to each.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests("tests/vault_zone/forward/test_engine.py", "test_a_grant_is_used_once_and_not_over_its_binding"),
            *tests(
                "tests/vault_zone/delegation/test_acp.py",
                "test_a_revoked_platform_hands_over_nothing_more_even_where_its_key_is_still_remembered",
            ),
            *tests(
                "tests/vault_zone/cli/test_platforms.py",
                "test_a_removed_platform_is_unknown_from_then_on_and_cannot_be_removed_twice",
            ),
            *tests(
                "tests/vault_zone/delegation/test_ucp.py",
                "test_a_revoked_platform_and_one_of_another_protocol_tokenize_nothing",
            ),
            "tests/vault_zone/test_access.py",
            *tests("tests/vault_zone/test_operations.py"),
            *tests("tests/vault_zone/test_admission.py", "test_a_permission_taken_away_bites_on_an_open_connection"),
            "tests/audit/test_serving_role.py",
            "tests/vault_zone/test_serving_rights.py",
            "tests/commerce_api/test_serving_rights.py",
        ),
        code=(
            "vault_zone/roles.py::ROLES",
            "vault_zone/access.py::require",
            "vault_zone/forward/engine.py::ForwardEngine",
            "vault_zone/callers.py::Asks",
            "audit/serving_role.py",
            "vault_zone/serving_rights.py::RIGHTS",
            "commerce_api/serving_rights.py::RIGHTS",
            "commerce_api/cli/databases.py",
        ),
        duties=(operator("runs `migrate --serve-as` as the owner, and serves as no role but that one"),),
    ),
    Requirement(
        number="7.2.5.1",
        ours="The rights of application and system accounts are reviewed at set intervals.",
        control="The whole of the rights is a table of roles in one file, and one list of who has which role for which "
        "merchants, which a command prints.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        code=("vault_zone/roles.py::ROLES", "vault_zone/cli/access.py::inventory"),
        duties=(operator("reviews the table, the certificates issued and the database roles, and signs"),),
    ),
    Requirement(
        number="7.2.6",
        ours="People query stored card data through programs only, by role; only administrators directly.",
        control="No program queries stored cards for anybody: a card is opened in memory for its charge, or for a request "
        "to an allow-listed destination, by those two engines. The database holds it sealed, so a direct query shows brand "
        "and last four.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests(
                "tests/vault_zone/test_grants.py",
                "test_a_grant_outside_its_binding_does_nothing_and_every_refusal_is_the_same",
            ),
            *tests(
                "tests/vault_zone/test_access.py",
                "test_no_answer_of_the_api_has_a_field_for_a_card_number",
            ),
            "tests/vault_zone/test_capture.py",
            *tests(
                "tests/compliance_docs/test_flows.py", "test_only_the_charge_engine_and_the_forward_engine_open_a_card"
            ),
        ),
        code=("vault_zone/vault.py::open_card", "vault_zone/roles.py::Verb"),
        duties=(operator("gives nobody a login to the zone's database without need"),),
    ),
    Requirement(
        number="7.3.1",
        ours="A system restricts access by need to know, and nothing in scope is outside it.",
        control="Every route of the zone's internal API is one verb, asked of the caller's role before anything is read.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=tests(
            "tests/vault_zone/test_access.py",
            "test_every_route_says_which_verb_it_is",
            "test_without_a_policy_nobody_may_do_anything",
        ),
        code=("vault_zone/callers.py::Asks", "vault_zone/access.py::require"),
        duties=(operator("does the same for hosts, databases and the key service"),),
    ),
    Requirement(
        number="7.3.2",
        ours="That system enforces what was assigned by job and function.",
        control="A call is allowed exactly when the table of roles and the list of identities say so, for that merchant.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=tests(
            "tests/vault_zone/test_access.py",
            "test_an_identity_may_do_what_its_role_says_and_nothing_else",
            "test_a_call_is_allowed_exactly_when_the_tables_say_so",
        ),
        code=("vault_zone/access.py::require", "vault_zone/roles.py::ROLES"),
    ),
    Requirement(
        number="7.3.3",
        ours="Access is denied unless it was granted.",
        control="A caller that is not in the policy, asks for a verb that its role does not have, or for a merchant that "
        "is not listed for it, is refused in the same words, whether or not the merchant exists; each request is "
        "judged anew, also on an open connection. Without a policy nobody may do anything. A grant that is not for "
        "this merchant, checkout and currency is refused in the same words as one that does not exist.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            "tests/vault_zone/test_access.py",
            *tests("tests/vault_zone/test_grants.py"),
            *tests("tests/vault_zone/test_operations.py"),
            *tests(
                "tests/vault_zone/test_admission.py",
                "test_files_that_do_not_serve_leave_the_old_state_and_are_recorded",
            ),
        ),
        code=(
            "vault_zone/access.py::require",
            "vault_zone/admission.py::Admission",
            "vault_zone/grants.py::consume_grant",
        ),
    ),
    Requirement(
        number="8.2.1",
        ours="Each user has an identity of its own before it gets access to anything.",
        control="Who calls is who its certificate names, and there is no other way in; a name is issued to one kind of "
        "identity, and the record names it in every act.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=(
            *tests(
                "tests/vault_zone/test_admission.py",
                "test_a_certificate_is_taken_only_if_everything_about_it_is_right",
            ),
            *tests(
                "tests/vault_zone/cli/test_access.py", "test_an_operator_does_not_replace_a_service_of_the_same_name"
            ),
        ),
        code=("vault_zone/identity.py::peer_of", "vault_zone/cli/identity.py"),
        deferral="That one person has one identity, and that a key file is not passed on, the software cannot see.",
        duties=(operator("issues each person an identity of its own, and one only"),),
    ),
    Requirement(
        number="8.2.4",
        ours="Identities are added, changed and removed only as authorised, and each such act can be traced.",
        control="Issuing, changing and revoking an identity is a command beside the authority's key; the zone records each "
        "once, when it reads the files, with who was issued what until when.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=tests(
            "tests/vault_zone/test_admission.py",
            "test_what_the_files_tell_is_recorded_once_however_often_it_is_read",
        ),
        code=("vault_zone/cli/identity.py", "vault_zone/cli/access.py", "vault_zone/inventory.py::record_inventory"),
        deferral="Who ran the command is not known to it: the authority may lie on a machine without a network, so approval "
        "and its author are the operator's record.",
        duties=(operator("approves identities and keeps who asked and who issued"),),
    ),
    Requirement(
        number="8.2.5",
        ours="Who leaves loses all access at once.",
        control="One command revokes an identity with its certificates: new connections are refused within two seconds or on a "
        "signal, and the next request on an open one is.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=(
            *tests(
                "tests/vault_zone/test_admission.py",
                "test_a_revoked_identity_is_refused_in_new_handshakes_and_on_its_open_connection",
                "test_a_permission_taken_away_bites_on_an_open_connection",
            ),
            *tests(
                "tests/vault_zone/cli/test_access.py",
                "test_a_revoked_identity_is_in_the_list_has_no_role_and_is_not_renewed",
            ),
        ),
        code=("vault_zone/cli/access.py", "vault_zone/admission.py::Admission"),
        deferral="Accounts on hosts, in databases and at the key service are not the software's.",
        duties=(operator("revokes at once when somebody leaves, and ends the accounts outside the software"),),
    ),
    Requirement(
        number="8.4.2",
        ours="Every person's access to the card environment takes more than one factor.",
        control="The zone has no login for people: an operator acts by command, with a key file and a certificate of a "
        "day, and a dangerous act takes a second operator.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        code=("vault_zone/cli/zone_client.py", "vault_zone/operations.py"),
        duties=(operator("demands several factors for any access to the zone's hosts, database and key service"),),
    ),
    Requirement(
        number="8.6.1",
        ours="Accounts of programs are not used by people, save in exceptions that are approved and traceable.",
        control="Services prove themselves by certificate, agents by a key of their brand; neither opens a session for a "
        "person, and the record names the service or agent that acted. People have certificates of another kind, which "
        "no service's role is for.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=(
            "tests/vault_zone/test_access.py",
            *tests(
                "tests/vault_zone/cli/test_platforms.py",
                "test_an_added_platform_has_a_key_that_is_shown_once_and_stored_nowhere",
            ),
            *tests(
                "tests/vault_zone/test_admission.py",
                "test_a_certificate_is_taken_only_if_everything_about_it_is_right",
            ),
        ),
        code=("vault_zone/identity.py::peer_of", "commerce_api/brands.py::is_agent_key"),
        deferral="A key file can be picked up by a person with access to the host; the software cannot tell who holds it. "
        "All agents of a brand share its one key.",
        duties=(
            operator("keeps people off the accounts under which the programs run"),
            merchant("keeps its agent key with its agents and asks for a new one when people change"),
        ),
    ),
    Requirement(
        number="8.6.2",
        ours="Passwords and keys of programs stand in no script, source or configuration file.",
        control="Secrets are files of mode 0600, made at set-up and outside the repository; there is no default for any, "
        "and no option takes one as its value.",
        owner=Owner.ZONE,
        status=Status.PARTLY,
        shown_by=(
            *tests(
                "tests/vault_zone/processors/sandbox_server/test_serve.py",
                "test_no_option_takes_a_secret_itself",
            ),
            *tests(
                "tests/vault_zone/processors/test_opening.py",
                "test_what_cannot_be_charged_through_is_refused_with_what_to_mend_and_no_secret",
            ),
            "tests/architecture/test_secrets.py",
            "tests/vault_zone/hazmat/test_opening.py",
            "tests/vault_zone/test_access.py",
        ),
        code=("vault_zone/settings.py::ZoneSettings", "commerce_api/cli/init.py::make_commerce_keys"),
        deferral="A database URL may hold a password, and given as an option it can be seen in the list of processes; nothing "
        "refuses that. The deployment uses a password file instead.",
        duties=(operator("gives database passwords by file or environment, from a secret store"),),
    ),
    Requirement(
        number="8.6.3",
        ours="Secrets of programs are protected from misuse: long enough, and changed at set intervals and on suspicion.",
        control="Secrets are 256 random bits. Certificates end after a day, are renewed by one command and taken up "
        "without a restart; a revoked one is refused in the handshake and on its open connections. A brand's agent key "
        "carries a version.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=(
            "tests/vault_zone/hazmat/test_local.py",
            "tests/vault_zone/test_access.py",
            *tests(
                "tests/vault_zone/test_admission.py",
                "test_a_revoked_identity_is_refused_in_new_handshakes_and_on_its_open_connection",
                "test_the_list_alone_keeps_a_certificate_out_of_the_handshake",
            ),
            *tests(
                "tests/vault_zone/cli/test_access.py",
                "test_renewing_keeps_name_role_and_life_and_makes_a_new_key",
                "test_a_revoked_identity_is_in_the_list_has_no_role_and_is_not_renewed",
            ),
        ),
        code=(
            "vault_zone/hazmat/pki.py::IDENTITY_HOURS",
            "vault_zone/hazmat/revocation.py",
            "tokenization/ids.py::new_secret",
            "commerce_api/brands.py",
        ),
        deferral="No command raises a brand's key version or changes the processor's secrets while the zone runs.",
        duties=(operator("sets the intervals by a risk analysis and renews in time"),),
    ),
)
