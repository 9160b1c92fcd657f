"""Requirement 6: how the software is made, what it is made of, and its pages."""

from typing import Final

from compliance_docs.model import Owner, Requirement, Status, merchant, operator, tests

REQUIREMENTS: Final = (
    Requirement(
        number="6.2.3",
        ours="Code is reviewed before it is released, by the rules of secure coding.",
        control="Formatting, lint with security rules, strict types, import contracts and a security linter run with the "
        "tests before a change lands.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=("tests/architecture/test_boundaries.py", "tests/architecture/test_style.py"),
        code=("Makefile", "pyproject.toml", ".ci/run"),
        deferral="Review by a second person is a practice: evidence of it is the history of changes, not a test.",
        duties=(operator("has somebody other than the author approve each release"),),
    ),
    Requirement(
        number="6.2.4",
        ours="The usual attacks on software are prevented by how it is written.",
        control="Statements are built by a query compiler, templates escape, input is bounded and closed, errors repeat "
        "nothing, states move by a table that the database checks again, and charges carry an idempotency key. Listeners bound "
        "connections, time and size before the code sees a request; a failure is told by kind and place. Tries of cards are "
        "limited, slowed and made to cost, whether a shopper or an agent platform makes them. A link to the card page works in "
        "the browser in which pay was pressed alone.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            "tests/vault_zone/test_openapi.py",
            *tests(
                "tests/vault_zone/forward/test_sending.py",
                "test_whatever_the_destination_does_it_is_asked_once_and_told_apart",
            ),
            *tests(
                "tests/journeys/test_who_began.py",
                "test_a_stolen_link_opens_nothing_in_another_browser_even_if_it_is_the_first_there",
                "test_without_the_openers_digest_the_thief_would_have_the_card_page",
            ),
            *tests(
                "tests/vault_zone/wallets/test_wallet_tokens.py",
                "test_by_every_other_way_the_same_body_meets_the_guard",
            ),
            "tests/mcp_server/test_closed_errors.py",
            "tests/mcp_server/test_rates.py",
            "tests/commerce_api/test_rate_limit.py",
            "tests/vault_zone/test_card_testing.py",
            "tests/vault_zone/test_no_oracle.py",
            "tests/vault_zone/delegation/test_platform_limits.py",
            *tests(
                "tests/vault_zone/delegation/test_signed_requests.py",
                "test_a_signed_request_of_acp_is_taken_and_with_any_value_changed_refused",
                "test_a_signed_request_of_ucp_is_taken_and_with_any_covered_part_changed_refused",
                "test_what_was_not_signed_like_this_is_refused",
            ),
            *tests(
                "tests/vault_zone/hazmat/test_signature.py",
                "test_a_change_of_one_bit_in_message_or_signature_is_refused",
            ),
            *tests(
                "tests/vault_zone/test_puzzle.py",
                "test_an_answer_is_good_for_its_own_link_try_and_merchant_alone",
            ),
            *tests(
                "tests/vault_zone/test_velocity.py",
                "test_each_limit_lets_its_maximum_through_and_no_more_until_its_window_is_over",
            ),
            *tests(
                "tests/vault_zone/pages/test_render.py",
                "test_no_text_changes_the_structure_of_the_page",
                "test_the_policy_allows_nothing_but_this_site_and_the_return",
                "test_a_planted_weak_policy_is_found_by_the_same_check",
            ),
            *tests(
                "tests/commerce_api/pages/test_render.py",
                "test_no_text_changes_the_structure_of_any_page",
                "test_a_planted_unescaped_title_is_found_by_the_same_check",
            ),
            *tests(
                "tests/vault_zone/test_capture_form.py",
                "test_any_bytes_are_read_or_refused",
                "test_a_refused_body_is_not_kept_by_its_refusal",
            ),
            *tests("tests/commerce_api/catalogue/test_feed.py", "test_any_bytes_end_in_rows_or_in_a_named_fault"),
            *tests("tests/vault_zone/test_charge.py"),
            "tests/vault_zone/test_listeners.py",
            "tests/vault_zone/test_connections.py",
            "tests/vault_zone/test_last_words.py",
            "tests/vault_zone/fuzz/test_corpus.py",
        ),
        code=(
            "tokenization/edge.py",
            "vault_zone/errors.py::ZoneError",
            "vault_zone/states.py::move",
            "vault_zone/listeners.py::BoundedProtocol",
            "vault_zone/connections.py::Gate",
            "vault_zone/last_words.py::quieten",
            "vault_zone/card_testing.py::begin_submission",
            "vault_zone/velocity.py::count",
            "vault_zone/velocity.py::count_all",
            "vault_zone/delegation/platform_limits.py::PlatformLimits",
            "vault_zone/delegation/message_signature.py::require_signed",
        ),
    ),
    Requirement(
        number="6.3.2",
        ours="Own software and the components in it are inventoried, and the inventory is used to find vulnerabilities.",
        control="Each deployable has a lock file with the version and hash of every component; installation refuses anything "
        "else, and a wheel asks for its own components only. For the zone and its extras there is a bill of materials in "
        "CycloneDX 1.6 with licences, hashes and what needs what, each direct dependency has its reason, and a wheel has the "
        "same bytes wherever it is built.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=(
            "tests/architecture/test_locks.py",
            "tests/architecture/test_deployables.py",
            "tests/architecture/test_sbom.py",
            "tests/architecture/test_reproducible.py",
        ),
        code=(
            "deploy/locks/zone.txt",
            "deploy/locks/commerce.txt",
            "deploy/locks/auditor.txt",
            "deploy/install.sh",
            "deploy/sbom/zone.cdx.json",
            "deploy/bills.py",
            "docs/zone-dependencies.md",
        ),
        deferral="Commerce and the auditor's tools have locks and no bill of materials, and no decisions about known "
        "vulnerabilities are kept beside them: the inventory is there, its use is not shown.",
        duties=(
            operator("matches the bills of materials against published vulnerabilities and records each decision"),
        ),
    ),
    Requirement(
        number="6.3.3",
        ours="Critical security updates are installed within a month.",
        control="Lock files are written anew by one command, and every test runs on what they name.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        code=("deploy/lock.sh", "Makefile"),
        duties=(operator("updates components, hosts and images in time"),),
    ),
    Requirement(
        number="6.4.1",
        ours="Public web applications are reviewed, or have a means in front; since the end of March 2025 it is 6.4.2 instead.",
        control="6.4.2 stands in its place.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        code=("vault_zone/app.py::public_app",),
        duties=(operator("answers 6.4.2; a review of the public pages beside it does no harm"),),
    ),
    Requirement(
        number="6.4.2",
        ours="Public web applications have an automatic means in front that detects and stops attacks.",
        control="Pages are small, take one form and carry strict headers; bodies are bounded in size and time, and card "
        "testing is slowed and stopped by limits and puzzles. That is no firewall.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        shown_by=tests("tests/vault_zone/test_capture_form.py", "test_a_body_that_no_browser_sends_is_refused"),
        code=("tokenization/edge.py::BodyLimit", "vault_zone/app.py::public_app"),
        duties=(operator("runs a web application firewall before the public listeners, inside the card environment"),),
    ),
    Requirement(
        number="6.4.3",
        ours="Every script on a payment page is authorised, its integrity assured, and listed with the reason it is needed.",
        control="Each script of the card page, of the card fields and for the page that frames them is listed with its reason "
        "and the hash that was approved; pages name its integrity, and the policy runs nothing that is not this site's. The "
        "checkout page has no script at all. The card page is never framed; card fields are framed by the one origin of their "
        "session, which an operator named.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests(
                "tests/compliance_docs/test_page_scripts.py",
                "test_every_script_of_a_page_is_in_the_inventory_as_approved",
                "test_a_script_changed_after_its_approval_is_found",
            ),
            *tests(
                "tests/vault_zone/pages/test_render.py",
                "test_no_page_holds_a_script_or_style_of_its_own",
                "test_every_static_file_is_what_its_integrity_promises",
                "test_a_planted_wrong_integrity_is_found_by_the_same_check",
                "test_the_script_has_no_network_no_storage_and_no_globals",
            ),
            *tests("tests/vault_zone/test_public_pages.py", "test_every_page_and_notice_carries_the_strict_policy"),
            *tests(
                "tests/vault_zone/test_fields_pages.py",
                "test_the_document_is_framed_by_the_sessions_origin_and_by_no_other",
            ),
            *tests(
                "tests/vault_zone/pages/test_browser.py",
                "test_a_script_that_was_tampered_with_does_not_run_and_the_form_still_works",
            ),
            *tests(
                "tests/commerce_api/pages/test_render.py",
                "test_no_page_holds_a_script_or_a_style_of_its_own",
                "test_planted_code_is_found_by_the_same_check",
            ),
        ),
        code=(
            "compliance_docs/page_scripts.py::PAGE_SCRIPTS",
            "vault_zone/pages/render.py::security_headers",
            "commerce_api/pages/headers.py::page_headers",
        ),
        duties=(merchant("answers for scripts on pages of its own, such as the chat that shows the link"),),
    ),
    Requirement(
        number="6.5.1",
        ours="A change in production is described, judged for its risk, approved, tested, and can be taken back.",
        control="Where cards may be forwarded to is a list that is signed outside the zone and numbered: unsigned, altered or "
        "older ones are not used, and the record says which was accepted. The database's schema changes by numbered steps.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=tests(
            "tests/vault_zone/forward/test_allowlist.py",
            "test_a_list_that_is_not_the_signed_one_forwards_nothing",
            "test_an_older_list_and_another_of_the_same_number_are_refused",
        ),
        code=("vault_zone/forward/allowlist.py::accept", "vault_zone/migrations/__init__.py"),
        deferral="Other settings are files and options of the operator's, which no second person signs; the software sees "
        "their effect and not their approval.",
        duties=(operator("keeps description, approval, test and way back of every change"),),
    ),
    Requirement(
        number="6.5.3",
        ours="Test and production are separated, and the separation is enforced.",
        control="The environment is named at start; keys made for one are refused in the other, production demands https and "
        "PostgreSQL, the sandbox processor is not charged and does not start there, and live accounts are charged there alone.",
        owner=Owner.ZONE,
        status=Status.PARTLY,
        shown_by=(
            *tests("tests/vault_zone/processors/sandbox_server/test_serve.py", "test_it_does_not_start_in_production"),
            *tests(
                "tests/vault_zone/processors/test_opening.py",
                "test_what_cannot_be_charged_through_is_refused_with_what_to_mend_and_no_secret",
            ),
            "tests/vault_zone/hazmat/test_local.py",
        ),
        code=(
            "vault_zone/settings.py::ZoneSettings.read",
            "vault_zone/hazmat/local.py::LocalKeys.open",
            "vault_zone/processors/opening.py::open_processors",
        ),
        deferral="Separate networks, accounts and people are the installation's.",
        duties=(operator("runs test and production on separate networks with separate access"),),
    ),
    Requirement(
        number="6.5.5",
        ours="Live card numbers are not used for testing, unless the test environment is protected like production.",
        control="The sandbox processor takes published test numbers only and refuses every other, without repeating it.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests(
                "tests/vault_zone/processors/sandbox_server/test_charges.py",
                "test_a_number_that_is_not_published_is_refused",
                "test_a_refused_card_leaves_nothing_behind",
            ),
            *tests(
                "tests/vault_zone/processors/sandbox_server/test_cards.py",
                "test_a_number_that_is_not_published_is_not_found_even_with_a_right_check_digit",
            ),
            *tests(
                "tests/vault_zone/processors/sandbox_server/test_leaks.py",
                "test_no_file_and_no_log_line_holds_a_number_that_was_charged_or_refused",
                "test_the_search_finds_what_is_there",
            ),
        ),
        code=("vault_zone/processors/sandbox_server/cards.py", "docs/sandbox.md"),
        duties=(operator("copies no production data into test"),),
    ),
    Requirement(
        number="6.5.6",
        ours="Test data and test accounts are gone before a system goes into production.",
        control="Production starts from keys and databases of its own, refuses development's keys, and the "
        "sandbox does not start and is not charged there, nor a test account beside a live one; what a sandbox "
        "charges says so everywhere it is shown.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests("tests/vault_zone/processors/sandbox_server/test_serve.py", "test_it_does_not_start_in_production"),
            *tests(
                "tests/vault_zone/processors/test_opening.py",
                "test_what_cannot_be_charged_through_is_refused_with_what_to_mend_and_no_secret",
            ),
            *tests(
                "tests/vault_zone/processors/sandbox_server/test_faults.py",
                "test_everything_the_sandbox_says_is_labelled",
                "test_an_answer_without_its_label_would_be_noticed",
            ),
            *tests(
                "tests/vault_zone/pages/test_render.py",
                "test_the_sandbox_shows_itself_and_production_does_not",
            ),
        ),
        code=("vault_zone/processors/sandbox_server/serve.py", "vault_zone/hazmat/local.py::LocalKeys.open"),
        duties=(operator("starts production on an empty database"),),
    ),
)
