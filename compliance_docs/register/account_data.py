"""Requirement 3 without its keys: what is kept of a card, for how long, in what form, and who sees it."""

from typing import Final

from compliance_docs.model import Owner, Requirement, Status, merchant, operator, processor, tests

REQUIREMENTS: Final = (
    Requirement(
        number="3.2.1",
        ours="Account data is kept only as long as there is a reason, then made unrecoverable; what is held before "
        "authorisation counts too.",
        control="Every table has a rule of retention, and a sweeper deletes by it: a card of one purchase after a day, a saved "
        "card thirteen months after its last charge or when its shopper says, with fingerprint and grants. A report counts "
        "what is on disk. A security code lives ten minutes at most in memory; commerce keeps brand, last four and tokens.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests(
                "tests/journeys/test_killed_halfway.py",
                "test_a_sweep_goes_on_after_kill_nine_deletes_each_card_once_and_no_live_one",
            ),
            *tests("tests/vault_zone/test_no_oracle.py", "test_a_card_past_its_time_takes_its_fingerprint_with_it"),
            *tests(
                "tests/vault_zone/delegation/test_acp.py",
                "test_a_card_becomes_a_vault_token_that_is_charged_once_within_its_allowance",
            ),
            *tests("tests/vault_zone/delegation/test_ucp.py", "test_a_credential_becomes_a_token_that_is_charged_once"),
            "tests/vault_zone/test_security_codes.py",
            *tests(
                "tests/vault_zone/test_security_codes_machine.py",
                "test_in_any_order_a_code_is_given_once_in_time_and_is_else_nowhere",
            ),
            *tests(
                "tests/vault_zone/test_device.py",
                "test_the_charge_carries_it_once_and_it_is_gone_whatever_comes_of_it",
                "test_what_was_never_charged_goes_with_its_session",
            ),
            "tests/vault_zone/test_retention.py",
            "tests/vault_zone/test_clearing.py",
            *tests(
                "tests/vault_zone/test_operations.py",
                "test_every_card_of_a_merchant_is_deleted_by_two_in_batches_and_later_ones_stay",
            ),
            "tests/vault_zone/test_saved_cards.py",
            *tests(
                "tests/vault_zone/test_public_pages.py",
                "test_a_card_is_taken_and_the_shopper_goes_back_with_nothing_of_it",
            ),
            *tests("tests/compliance_docs/test_flows.py", "test_stated_lifetimes_are_those_of_the_code"),
        ),
        code=(
            "vault_zone/capture.py::RECORD_LIFETIME_SECONDS",
            "vault_zone/vault.py::saved_until",
            "vault_zone/retention.py::RULES",
            "vault_zone/sweeping.py::Sweeper",
            "vault_zone/clearing.py::Clearing",
            "vault_zone/security_codes.py::LIFETIME_SECONDS",
        ),
        duties=(
            operator(
                "serves the zone on PostgreSQL 17 or newer, leaves autovacuum on, looks at the retention report every quarter"
            ),
            operator("covers backups and snapshots of the zone's database by the retention policy"),
            merchant("states the business reason for the retention time"),
        ),
    ),
    Requirement(
        number="3.3.1",
        ours="Nothing that authenticates a card is kept once it is authorised, encrypted or not.",
        control="The record that is sealed has no place for a code. A code waits in memory, is taken out before the charge "
        "is sent, and is gone whatever comes of it; a process that ends takes its codes with it.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests(
                "tests/journeys/test_a_thousand_operations.py",
                "test_after_a_thousand_operations_no_card_and_no_code_is_anywhere",
            ),
            *tests("tests/vault_zone/forward/test_engine.py", "test_a_code_is_used_once_and_not_held_afterwards"),
            *tests(
                "tests/vault_zone/forward/test_engine.py",
                "test_a_security_code_that_is_gone_stops_the_request_and_takes_no_use",
            ),
            *tests(
                "tests/vault_zone/delegation/test_idempotency.py",
                "test_nothing_of_the_request_is_kept_and_the_fingerprint_is_keyed_and_without_the_code",
            ),
            *tests(
                "tests/vault_zone/delegation/test_acp.py",
                "test_a_network_token_is_charged_with_its_cryptogram_once_and_keeps_none_on_disk",
            ),
            *tests(
                "tests/vault_zone/delegation/test_acp.py",
                "test_a_card_becomes_a_vault_token_that_is_charged_once_within_its_allowance",
            ),
            *tests(
                "tests/vault_zone/delegation/test_ucp.py",
                "test_a_credential_becomes_a_token_that_is_charged_once",
                "test_a_network_token_keeps_its_cryptogram_in_memory_alone",
                "test_the_same_request_again_gets_the_same_token_and_nothing_of_it_is_kept",
            ),
            *tests("tests/vault_zone/test_security_codes.py", "test_a_code_is_given_once"),
            *tests(
                "tests/vault_zone/test_security_codes_machine.py",
                "test_in_any_order_a_code_is_given_once_in_time_and_is_else_nowhere",
                "test_each_planted_fault_is_found",
            ),
            *tests(
                "tests/vault_zone/wallets/test_wallet_tokens.py",
                "test_a_network_token_is_charged_once_with_its_cryptogram_which_is_on_no_disk",
                "test_after_authorization_decline_loss_expiry_revocation_or_a_crash_no_cryptogram_is_left",
            ),
            *tests("tests/vault_zone/test_capture_crash.py"),
            *tests(
                "tests/journeys/test_an_agent_buys.py",
                "test_an_agent_buys_and_the_card_is_nowhere_but_on_its_way_to_the_processor",
            ),
            *tests(
                "tests/vault_zone/test_capture_form.py", "test_a_good_form_becomes_a_card_with_the_security_code_apart"
            ),
        ),
        code=("vault_zone/security_codes.py::SecurityCodes", "vault_zone/charge.py::ChargeEngine"),
        duties=(operator("keeps swap and memory snapshots of the zone's hosts off or encrypted"),),
    ),
    Requirement(
        number="3.3.1.1",
        ours="The content of a card's track is not kept after authorisation.",
        control="Cards are typed in, never read: the form, the types and the processor port have no field for a track.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=tests("tests/compliance_docs/test_flows.py", "test_of_a_card_five_fields_are_taken_and_no_others"),
        code=("vault_zone/card.py::CardField", "vault_zone/processors/port.py::ProcessorCharge"),
    ),
    Requirement(
        number="3.3.1.2",
        ours="The card verification code is not kept after authorisation.",
        control="A code is a type of its own that cannot be printed, copied, pickled or serialised; no table has a column "
        "for it, no page shows it again, and the sandbox processor keeps none.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests("tests/vault_zone/forward/test_scrubbing.py", "test_a_caller_who_has_codes_repeated_learns_nothing"),
            *tests(
                "tests/vault_zone/forward/test_scrubbing.py", "test_a_value_that_holds_the_security_code_is_withheld"
            ),
            *tests(
                "tests/vault_zone/test_card.py",
                "test_two_values_show_the_same_whatever_python_is_asked",
                "test_a_planted_leak_is_found_by_the_same_check",
                "test_a_held_value_cannot_be_changed_or_taken_away",
            ),
            *tests(
                "tests/vault_zone/test_capture_form.py",
                "test_what_is_shown_again_holds_no_number_and_no_code",
                "test_a_code_repeated_elsewhere_is_not_shown_again",
            ),
            *tests("tests/compliance_docs/test_flows.py", "test_no_column_is_named_for_a_code_a_track_or_a_number"),
        ),
        code=("vault_zone/card.py::Cvc", "vault_zone/models.py::card_record"),
        duties=(processor("keeps no code either"),),
    ),
    Requirement(
        number="3.3.1.3",
        ours="PINs and PIN blocks are not kept after authorisation.",
        control="Cards are typed into a page; nothing takes a PIN.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=tests("tests/compliance_docs/test_flows.py", "test_of_a_card_five_fields_are_taken_and_no_others"),
        code=("vault_zone/card.py::CardField",),
    ),
    Requirement(
        number="3.3.2",
        ours="What authenticates a card and waits for authorisation is encrypted strongly.",
        control="A waiting code is sealed with AES-256-GCM under a key that exists only in the process, bound to its grant. "
        "The process forbids core dumps and being read by others of its user, and locks its memory where it may.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests("tests/vault_zone/test_security_codes.py", "test_what_is_held_is_sealed_and_shows_nothing"),
            *tests(
                "tests/vault_zone/test_security_codes_machine.py",
                "test_in_any_order_a_code_is_given_once_in_time_and_is_else_nowhere",
            ),
            *tests(
                "tests/vault_zone/wallets/test_wallet_tokens.py",
                "test_after_authorization_decline_loss_expiry_revocation_or_a_crash_no_cryptogram_is_left",
            ),
            "tests/vault_zone/test_process.py",
        ),
        code=("vault_zone/security_codes.py::SecurityCodes.hold", "vault_zone/hazmat/process.py::harden_process"),
        duties=(operator("runs the zone where memory is not swapped to disk in clear"),),
    ),
    Requirement(
        number="3.4.1",
        ours="A card number is masked when shown; beyond its first digits and last four only who needs to sees it.",
        control="Nobody sees more than network and last four, on pages, in answers, in the record and to agents: there is "
        "no view, verb or role that shows a number. Of a destination's answer allowed fields come back, and none of them if "
        "the number is anywhere in it.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests(
                "tests/vault_zone/test_saved_cards.py",
                "test_over_the_api_a_card_is_listed_granted_charged_and_deleted",
            ),
            *tests(
                "tests/vault_zone/reconciliation/test_reconciling.py",
                "test_a_wrong_file_is_refused_with_its_line_and_reason",
            ),
            *tests(
                "tests/vault_zone/fuzz/test_corpus.py",
                "test_a_parser_that_leaks_or_breaks_is_found_by_the_same_seeds",
                "test_an_answer_that_is_told_without_its_search_is_found_by_the_same_seeds",
            ),
            *tests(
                "tests/vault_zone/forward/test_scrubbing.py",
                "test_whatever_the_encoding_and_the_shape_of_the_answer_the_number_never_comes_back",
            ),
            *tests(
                "tests/vault_zone/delegation/test_acp.py",
                "test_what_cannot_be_taken_is_refused_by_its_path_and_echoes_nothing",
            ),
            *tests(
                "tests/vault_zone/delegation/test_ucp.py",
                "test_what_cannot_be_taken_is_refused_by_its_path_and_echoes_nothing",
                "test_the_published_detokenize_is_answered_as_any_path_that_is_not_there",
            ),
            *tests(
                "tests/commerce_api/pages/test_render.py",
                "test_a_card_is_never_shown_by_more_than_four_digits",
            ),
            *tests(
                "tests/vault_zone/pages/test_render.py",
                "test_a_page_never_holds_a_submitted_number_or_code",
                "test_a_planted_echo_is_found_by_the_same_check",
            ),
            *tests("tests/vault_zone/test_card.py", "test_the_masks_name_the_type_and_nothing_else"),
            *tests(
                "tests/vault_zone/test_access.py",
                "test_no_answer_of_the_api_has_a_field_for_a_card_number",
            ),
            *tests(
                "tests/vault_zone/test_no_oracle.py",
                "test_without_limits_no_answer_to_a_thousand_guesses_tells_the_right_one",
                "test_nothing_that_can_be_asked_afterwards_tells_the_right_guess",
            ),
            *tests(
                "tests/vault_zone/test_public_pages.py",
                "test_a_card_is_taken_and_the_shopper_goes_back_with_nothing_of_it",
            ),
            *tests("tests/vault_zone/test_listeners.py", "test_what_is_no_http_is_answered_with_a_fixed_text"),
            *tests("tests/vault_zone/test_last_words.py", "test_no_value_is_in_what_is_said"),
            *tests(
                "tests/vault_zone/fuzz/test_corpus.py",
                "test_every_seed_and_saved_input_is_answered_soon_and_silently",
            ),
        ),
        code=(
            "tokenization/wire.py::CardSummary",
            "vault_zone/card.py::Pan",
            "commerce_api/pages/masking.py::card_text",
        ),
    ),
    Requirement(
        number="3.4.2",
        ours="Who works from afar cannot copy card numbers away.",
        control="There is no read verb: no interface of the zone gives a card number to anybody.",
        owner=Owner.ZONE,
        status=Status.PARTLY,
        shown_by=(
            "tests/vault_zone/test_access.py",
            *tests(
                "tests/vault_zone/delegation/test_ucp.py",
                "test_the_published_detokenize_is_answered_as_any_path_that_is_not_there",
                "test_neither_program_has_a_route_that_is_named_for_giving_a_card_back",
            ),
        ),
        code=("vault_zone/roles.py::Verb",),
        deferral="Whoever can read the zone's memory or both its database and its key file can get at cards; keeping people "
        "from there is the operator's.",
        duties=(operator("lets nobody work interactively on the zone's hosts without need, and records it"),),
    ),
    Requirement(
        number="3.5.1",
        ours="A stored card number cannot be read, wherever it is stored.",
        control="A card is sealed with AES-256-GCM under its merchant's data key, bound to token, merchant and key id; "
        "outside stand brand and last four. The token is random and not derived from the card. Logs are redacted on the "
        "way out, whatever wrote them.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests(
                "tests/journeys/test_a_thousand_operations.py",
                "test_after_a_thousand_operations_no_card_and_no_code_is_anywhere",
            ),
            *tests(
                "tests/vault_zone/forward/test_scrubbing.py", "test_a_caller_who_has_guesses_repeated_learns_nothing"
            ),
            *tests(
                "tests/vault_zone/forward/test_scrubbing.py",
                "test_no_more_of_the_number_is_told_than_truncation_may_leave",
            ),
            *tests(
                "tests/vault_zone/forward/test_scrubbing.py",
                "test_whatever_the_encoding_and_the_shape_of_the_answer_the_number_never_comes_back",
            ),
            *tests("tests/vault_zone/forward/test_engine.py", "test_neither_card_nor_code_nor_body_is_in_the_database"),
            *tests("tests/vault_zone/test_capture_crash.py"),
            *tests(
                "tests/vault_zone/test_capture.py",
                "test_the_database_holds_the_link_only_as_a_digest_and_the_card_only_sealed",
            ),
            *tests("tests/vault_zone/test_vault.py", "test_a_card_opens_under_its_own_token_alone"),
            *tests(
                "tests/journeys/test_an_agent_buys.py",
                "test_an_agent_buys_and_the_card_is_nowhere_but_on_its_way_to_the_processor",
            ),
            *tests("tests/vault_zone/test_seal.py"),
            *tests("tests/compliance_docs/test_flows.py", "test_card_data_is_stored_in_the_zone_alone"),
            *tests(
                "tests/audit/test_event.py",
                "test_a_card_number_is_refused_in_any_field_script_and_spelling",
            ),
        ),
        code=("vault_zone/vault.py::store_card", "vault_zone/hazmat/seal.py::seal", "tokenization/token.py::new_token"),
    ),
    Requirement(
        number="3.5.1.1",
        ours="A hash that stands for a card number is keyed, over the whole number, and its key is managed.",
        control="A fingerprint is an HMAC-SHA-256 of the whole number under a data key of its own for each merchant, and again "
        "under a key that never leaves the provider, which sees no number. It is for the zone alone and goes with the card: "
        "nothing that answers looks it up, and a thousand guesses at a stored card learn nothing by answer or by steps.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests("tests/vault_zone/test_velocity.py", "test_a_counter_names_no_address_no_digit_and_no_fingerprint"),
            "tests/vault_zone/test_no_oracle.py",
            *tests(
                "tests/vault_zone/delegation/test_idempotency.py",
                "test_nothing_of_the_request_is_kept_and_the_fingerprint_is_keyed_and_without_the_code",
            ),
            *tests(
                "tests/vault_zone/delegation/test_ucp.py",
                "test_the_same_request_again_gets_the_same_token_and_nothing_of_it_is_kept",
            ),
            *tests("tests/vault_zone/delegation/test_platform_limits.py", "test_every_limit_answers_in_the_same_words"),
            *tests("tests/vault_zone/test_keyring.py"),
            *tests("tests/compliance_docs/test_flows.py", "test_no_column_is_named_for_a_code_a_track_or_a_number"),
        ),
        code=("vault_zone/fingerprint.py",),
    ),
    Requirement(
        number="3.5.1.2",
        ours="Encrypting a disk is not by itself enough to make stored card numbers unreadable.",
        control="Each card is sealed on its own before it reaches the database, whatever the disk does.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=tests("tests/vault_zone/test_vault.py"),
        code=("vault_zone/vault.py::store_card",),
    ),
)
