"""Requirement 10: the record of what happened."""

from typing import Final

from compliance_docs.model import Owner, Requirement, Status, operator, tests

_UNIT: Final = "audit/transaction.py::Database.change"

REQUIREMENTS: Final = (
    Requirement(
        number="10.2.1",
        ours="Every component in scope keeps an audit log that is on.",
        control="A change of state that records no event is rolled back, so recording cannot be switched off; rows of "
        "feeds and the log's own places are the housekeeping that is excepted. Zone and commerce each keep a log.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests(
                "tests/audit/test_transaction.py",
                "test_a_change_without_an_event_is_undone",
                "test_an_event_that_is_refused_takes_its_change_with_it",
            ),
            *tests(
                "tests/vault_zone/test_card_testing.py",
                "test_a_limit_that_is_reached_refuses_records_and_says_when_to_come_again",
            ),
            "tests/vault_zone/test_charge.py",
        ),
        code=(_UNIT, "audit/transaction.py::Unrecorded", "vault_zone/runtime.py::running_zone"),
        duties=(operator("logs hosts, database, network and TLS termination as well"),),
    ),
    Requirement(
        number="10.2.1.1",
        ours="Every individual access to card data is logged.",
        control="Capture, token, grant and its use, and the intent of a charge or of a forwarded request are events in the "
        "transaction that they belong to; a card is opened only within the transaction that records that intent.",
        owner=Owner.ZONE,
        status=Status.PARTLY,
        shown_by=(
            *tests("tests/vault_zone/test_unsealing.py", "test_two_custodians_open_it_and_each_share_is_on_record"),
            *tests(
                "tests/vault_zone/cli/test_ceremony.py", "test_each_act_is_on_record_with_its_custodian_and_no_word"
            ),
            *tests(
                "tests/vault_zone/forward/test_engine.py",
                "test_the_card_is_filled_in_and_the_answer_comes_back_by_allowed_fields",
            ),
            *tests(
                "tests/compliance_docs/test_flows.py", "test_only_the_charge_engine_and_the_forward_engine_open_a_card"
            ),
            *tests("tests/vault_zone/test_charge.py"),
        ),
        code=("vault_zone/charge.py::ChargeEngine", "vault_zone/vault.py::open_card", "audit/event.py::EventType"),
        deferral="The event for opening a card under a key (key.used_for_unseal) is defined and not yet written: the charge's "
        "intent stands for it.",
    ),
    Requirement(
        number="10.2.1.2",
        ours="Everything done with administrative rights is logged.",
        control="Adding a brand and importing a feed are events with the actor operator.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=tests("tests/audit/test_event.py", "test_every_type_has_a_sentence_and_known_keys"),
        code=("commerce_api/brands.py::save_brand", "commerce_api/catalogue/importing.py"),
        deferral="Set-up, issuing identities and migrations on the zone's command line leave no event yet, and the operator "
        "is not named as a person.",
        duties=(operator("records sessions on the hosts"),),
    ),
    Requirement(
        number="10.2.1.3",
        ours="All access to the audit logs is logged.",
        control="None yet: the command that verifies and shows a log reads files and leaves no trace.",
        owner=Owner.AUDITOR,
        status=Status.DEFERRED,
        code=("audit/cli.py",),
        deferral="It comes with the auditors' console, whose own queries and exports will be events; a reader of files cannot "
        "be made to record itself.",
        duties=(operator("has the host record reads of the log directory"),),
    ),
    Requirement(
        number="10.2.1.4",
        ours="Invalid attempts at access are logged.",
        control="Callers that may not make a call, refused cards, refused requests to forward a card, webhooks that do not "
        "verify and card-like text that was refused are events of failure.",
        owner=Owner.ZONE,
        status=Status.PARTLY,
        shown_by=(
            *tests(
                "tests/vault_zone/forward/test_engine.py", "test_a_refusal_is_on_record_and_names_nothing_that_was_said"
            ),
            *tests(
                "tests/vault_zone/test_access.py",
                "test_an_identity_may_do_what_its_role_says_and_nothing_else",
                "test_a_refusal_is_on_record_with_who_what_and_why",
            ),
            "tests/vault_zone/test_capture.py",
            "tests/vault_zone/test_public_pages.py",
        ),
        code=(
            "vault_zone/app.py::record_refused_access",
            "vault_zone/capture.py::count_refused_card",
            "vault_zone/public_pages.py::post_webhook",
            "commerce_api/app.py::refusal_recorder",
        ),
        deferral="A wrong agent key and a refused capture link are answered and not yet recorded (capture_session.refused "
        "is defined).",
    ),
    Requirement(
        number="10.2.1.5",
        ours="Changes of identities and credentials are logged.",
        control="Issuing and revoking an identity, each change of its role or merchants, reading the files anew, adding and "
        "removing an agent platform and making a data key are events.",
        owner=Owner.ZONE,
        status=Status.PARTLY,
        shown_by=(
            *tests("tests/vault_zone/test_vault.py"),
            *tests(
                "tests/vault_zone/cli/test_platforms.py",
                "test_an_added_platform_has_a_key_that_is_shown_once_and_stored_nowhere",
            ),
            *tests(
                "tests/vault_zone/test_admission.py",
                "test_what_the_files_tell_is_recorded_once_however_often_it_is_read",
                "test_a_permission_taken_away_bites_on_an_open_connection",
            ),
        ),
        code=("vault_zone/inventory.py::record_inventory", "vault_zone/keyring.py::KeyRing"),
        deferral="Changes of agent keys are not recorded yet; nor is who ran the command that issued an identity.",
    ),
    Requirement(
        number="10.2.1.6",
        ours="Starting, stopping and pausing of the audit log is logged.",
        control="A start writes an entry before anything else is served; an orderly stop writes one.",
        owner=Owner.ZONE,
        status=Status.PARTLY,
        shown_by=tests("tests/audit/test_event.py", "test_every_type_has_a_sentence_and_known_keys"),
        code=("vault_zone/runtime.py::running_zone", "audit/event.py::EventType"),
        deferral="After a stop that was not orderly the gap is visible as a start without a stop before it; the event that "
        "says so (log.gap) is defined and not written yet.",
    ),
    Requirement(
        number="10.2.1.7",
        ours="Creating and deleting system-level objects is logged.",
        control="Schemas change by numbered migrations that ship with the software, one process at a time.",
        owner=Owner.ZONE,
        status=Status.DEFERRED,
        code=("audit/transaction.py::Database.migrate", "vault_zone/migrations"),
        deferral="The event for an applied migration (migration.applied) is defined and not written yet.",
        duties=(operator("logs changes of images, hosts and configuration"),),
    ),
    Requirement(
        number="10.2.2",
        ours="Each entry says who, what kind, when, success or failure, from where, and about what.",
        control="The six facts are required fields: an event without one is refused before anything is written. Whom an "
        "agent acts for is a field of its own; each call of an agent's tool is an entry. Free text has no place.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests(
                "tests/audit/test_event.py",
                "test_the_entry_is_canonical_and_holds_the_six_facts",
                "test_an_event_without_one_of_the_facts_is_refused",
                "test_a_card_number_is_refused_in_any_field_script_and_spelling",
            ),
            *tests(
                "tests/vault_zone/reconciliation/test_reconciling.py",
                "test_a_break_is_resolved_once_with_who_and_why_and_its_suspense_is_undone_by_two",
            ),
            *tests(
                "tests/mcp_server/test_call_record.py",
                "test_every_call_is_recorded_with_who_asked_for_what_on_whose_behalf",
                "test_whatever_a_client_calls_itself_the_event_can_be_written_and_holds_no_card",
            ),
        ),
        code=("audit/event.py::Event", "audit/event.py::encode", "mcp_server/call_record.py::CallRecorder"),
    ),
    Requirement(
        number="10.3.1",
        ours="Logs are read only by those whose work needs it.",
        control="Logs are files and rows of their own; the auditor's wheel reads them without any code that serves cards, "
        "and its container has them read-only, without network or keys.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=("tests/architecture/test_deployables.py", "tests/architecture/test_deploy.py"),
        code=("audit/cli.py", "deploy/compose.yaml"),
        deferral="There are no roles among readers yet: who may read the directory may read it all.",
        duties=(operator("gives auditors a read-only copy or mount"),),
    ),
    Requirement(
        number="10.3.2",
        ours="No individual can change log files.",
        control="Entries are leaves of a signed tree: a change cannot be prevented by software on the same host, but not a "
        "byte changes without the next verification naming it. In the database the role that serves may add events and "
        "say their place, and neither change nor delete one.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=(
            *tests(
                "tests/audit/test_verify.py",
                "test_any_flipped_bit_of_any_file_is_named_with_its_byte_and_entry",
                "test_an_entry_changed_together_with_its_hash_is_named",
                "test_a_verifier_that_trusted_the_tiles_would_see_nothing",
            ),
            *tests("tests/vault_zone/ledger/test_invariants.py", "test_the_books_hold_each_invariant"),
            *tests(
                "tests/vault_zone/ledger/test_append_only.py",
                "test_the_revision_makes_the_triggers_that_the_tables_make",
                "test_the_database_itself_refuses_to_overdraw_what_never_is",
                "test_a_row_is_not_replaced_by_one_of_its_key_either",
            ),
            "tests/vault_zone/test_serving_rights.py",
            "tests/commerce_api/test_serving_rights.py",
        ),
        code=(
            "audit/verify.py",
            "audit/tiles.py::TileLog",
            "audit/serving_role.py",
            "vault_zone/serving_rights.py::RIGHTS",
            "vault_zone/ledger/append_only.py",
        ),
        deferral="The tables' owner and the database's administrators can turn triggers off. Writer and signer are the "
        "service's own account: whoever holds the signing key can write another history, which only a checkpoint kept "
        "elsewhere shows.",
        duties=(operator("keeps checkpoints and a write-once copy where the service's administrators cannot reach"),),
    ),
    Requirement(
        number="10.3.3",
        ours="Logs are copied promptly to a central place that is hard to change.",
        control="A log is a directory of files that only grows; any copying tool carries it, and the copy verifies by "
        "itself.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        shown_by=tests("tests/audit/test_verify.py", "test_a_log_can_be_verified_while_it_is_written"),
        code=("audit/layout.py", "docs/audit-log.md"),
        duties=(operator("mirrors the log directories and watches the lag"),),
    ),
    Requirement(
        number="10.3.4",
        ours="Change detection on logs raises an alert when existing entries change.",
        control="One command re-hashes every entry, names what was altered and ends with a status for a monitor; a "
        "checkpoint kept elsewhere shows that history only grew. Verifiers of others agree.",
        owner=Owner.AUDITOR,
        status=Status.PARTLY,
        shown_by=(
            *tests(
                "tests/audit/test_cli.py",
                "test_an_altered_byte_is_named_and_the_status_is_one",
                "test_a_kept_checkpoint_shows_that_history_stands",
            ),
            *tests(
                "tests/audit/test_verify.py",
                "test_a_rewritten_history_signed_by_the_real_key_is_refused_by_a_kept_checkpoint",
                "test_a_log_cut_off_or_put_back_is_refused",
            ),
            *tests(
                "tests/audit/test_foreign_verifiers.py",
                "test_metamorphic_log_and_tlog_scales_accept_growth_and_refuse_a_fork",
            ),
            *tests(
                "tests/journeys/test_an_agent_buys.py",
                "test_an_agent_buys_and_the_card_is_nowhere_but_on_its_way_to_the_processor",
            ),
        ),
        code=("audit/cli.py", "audit/verify.py"),
        deferral="Nothing runs it on a schedule or raises an alert by itself, and no outside witness signs along yet.",
        duties=(operator("runs the verification every day and alerts on its status"),),
    ),
    Requirement(
        number="10.4.1",
        ours="Security events and the logs of critical components are reviewed every day.",
        control="Entries read as sentences, and have a closed set of kinds and reasons.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        shown_by=tests("tests/audit/test_cli.py", "test_the_last_entries_are_shown_as_sentences"),
        code=("audit/cli.py",),
        duties=(operator("reviews daily and keeps the record of it"),),
    ),
    Requirement(
        number="10.4.1.1",
        ours="The review is done by automatic means.",
        control="Entries are machine-readable, one canonical JSON object each.",
        owner=Owner.OPERATOR,
        status=Status.DEFERRED,
        code=("audit/event.py::encode",),
        deferral="Rules, their daily run and the sign-off come with the auditors' console.",
        duties=(operator("feeds the entries to its own monitoring until then"),),
    ),
    Requirement(
        number="10.5.1",
        ours="Logs are kept a year, the last three months at hand.",
        control="The software deletes no entry.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        code=("audit/tiles.py::TileLog",),
        duties=(operator("keeps the directories and their copies for a year, and tries a restore"),),
    ),
    Requirement(
        number="10.6.1",
        ours="Clocks are synchronised.",
        control="All code asks one module for the time; entries carry UTC with milliseconds.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        shown_by=tests("tests/audit/test_event.py", "test_moments_are_rfc_3339_with_milliseconds"),
        code=("tokenization/clock.py",),
        duties=(operator("synchronises the hosts and keeps their status"),),
    ),
    Requirement(
        number="10.6.2",
        ours="Time comes from designated servers and from sources that are recognised.",
        control="None in software: the time is the host's.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        duties=(operator("designates the time servers"),),
    ),
    Requirement(
        number="10.6.3",
        ours="Time settings are protected, and their changes logged and reviewed.",
        control="Durations are measured on a clock that does not go back.",
        owner=Owner.OPERATOR,
        status=Status.DEFERRED,
        code=("tokenization/clock.py::monotonic_seconds",),
        deferral="No event is written yet when the wall clock jumps against that clock.",
        duties=(operator("restricts who may set the time, and logs it"),),
    ),
    Requirement(
        number="10.7.2",
        ours="Failures of critical security controls are detected, alerted and answered promptly.",
        control="While the log cannot be written nothing is charged, and the health answer says so, to a monitor's own "
        "identity; without keys nothing is captured or charged.",
        owner=Owner.ZONE,
        status=Status.PARTLY,
        shown_by=tests("tests/vault_zone/test_charge.py", "test_nothing_is_charged_while_the_log_cannot_be_written"),
        code=("audit/sequencer.py::Sequencer.is_writable", "vault_zone/internal_api.py::get_health"),
        deferral="Alerts, and watches over segmentation, egress, scanner and verification, are not built.",
        duties=(operator("polls the health answer and alerts people"),),
    ),
    Requirement(
        number="10.7.3",
        ours="After such a failure the function is restored, and duration, cause and remedy are recorded.",
        control="Log and charges recover by themselves at the next start; what was under way becomes unknown and is "
        "settled by the processor's record.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=(
            *tests("tests/audit/test_tiles_crash.py", "test_a_power_cut_at_any_step_loses_nothing_signed"),
            *tests("tests/vault_zone/test_charge.py"),
            *tests("tests/vault_zone/test_modifications.py"),
        ),
        code=("vault_zone/charge.py::ChargeEngine.recover", "audit/tiles.py::TileLog"),
        deferral="The form in which people record the incident is not part of the software.",
        duties=(operator("records start, end, cause, remedy and prevention of each failure"),),
    ),
)
