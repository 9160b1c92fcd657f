"""Requirements 3.6 and 3.7: the keys that make stored cards unreadable."""

from typing import Final

from compliance_docs.model import Owner, Requirement, Status, operator, tests

REQUIREMENTS: Final = (
    Requirement(
        number="3.6.1",
        ours="Keys are protected: as strong as what they protect, key-encrypting keys apart from data keys, few places.",
        control="A merchant's 256-bit wrapping key, in a keystore under a root key, in a key service or in a hardware token, "
        "wraps 256-bit data keys, each bound to merchant, purpose and key id. Wrapped keys lie in the zone's database, "
        "wrapping keys never. A key file that others can read is refused.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests("tests/vault_zone/hazmat/test_local.py"),
            *tests("tests/vault_zone/test_vault.py"),
            *tests("tests/vault_zone/test_key_life.py"),
        ),
        code=("vault_zone/hazmat/local.py::LocalKeys", "vault_zone/keyring.py::KeyRing"),
        duties=(operator("keeps the root key away from the database's backups and from who administers the database"),),
    ),
    Requirement(
        number="3.6.1.1",
        ours="A service provider keeps a current description of its cryptography, and shares no key between production and "
        "test.",
        control="Algorithms, lengths, formats and limits stand with their source beside the code that uses them, all in one "
        "package; a root key names the environment it was made for and is refused in another.",
        owner=Owner.ZONE,
        status=Status.PARTLY,
        shown_by=("tests/vault_zone/test_seal.py", "tests/vault_zone/hazmat/test_local.py"),
        code=("vault_zone/hazmat/seal.py", "vault_zone/hazmat/local.py::LocalKeys.open", "vault_zone/hazmat/pki.py"),
        deferral="The one document that lists them with custodians and expiry dates is not generated yet.",
    ),
    Requirement(
        number="3.6.1.2",
        ours="A secret key is stored encrypted under a key at least as strong, in a hardware module, or as full-length parts.",
        control="Data keys are stored wrapped only; wrapping keys in a token or key service which they cannot leave, or "
        "sealed under a root key that exists in Shamir shares of full length (SLIP-39) and on no disk. A development root key "
        "lies in a file, and production refuses it.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests(
                "tests/vault_zone/cli/test_ceremony.py",
                "test_a_ceremony_gives_each_custodian_one_share_and_any_two_open_the_keystore",
            ),
            "tests/vault_zone/hazmat/test_vault_transit.py",
            "tests/vault_zone/hazmat/test_pkcs11_token.py",
            "tests/vault_zone/hazmat/test_local.py",
            "tests/vault_zone/test_vault.py",
        ),
        code=("vault_zone/keyring.py::KeyRing", "vault_zone/hazmat/provider.py::KeyProvider"),
    ),
    Requirement(
        number="3.6.1.3",
        ours="As few people as possible can reach keys in clear.",
        control="No command and no interface shows a key; key files are created for their owner only and never overwritten.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            "tests/vault_zone/hazmat/test_pkcs11_token.py",
            "tests/vault_zone/hazmat/test_provider_contract.py",
            "tests/vault_zone/hazmat/test_local.py",
            "tests/vault_zone/test_access.py",
        ),
        code=("vault_zone/hazmat/local.py::create_development_root",),
        duties=(operator("names the custodians and gives nobody else the account under which the zone runs"),),
    ),
    Requirement(
        number="3.6.1.4",
        ours="Keys lie in as few places as possible.",
        control="One keystore, key service or token, and one table of wrapped keys; opened keys live in the zone's process.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=tests("tests/compliance_docs/test_flows.py", "test_every_table_is_in_one_store"),
        code=("vault_zone/settings.py::ZoneSettings.keys", "vault_zone/models.py::data_key"),
        duties=(operator("counts the copies in backups"),),
    ),
    Requirement(
        number="3.7.1",
        ours="Keys are generated strong.",
        control="Every key is 256 bits from the operating system; bearer secrets likewise.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=tests("tests/vault_zone/test_seal.py"),
        code=("vault_zone/hazmat/seal.py::new_key", "tokenization/ids.py::new_secret"),
    ),
    Requirement(
        number="3.7.2",
        ours="Keys are distributed securely.",
        control="Keys are made where they are used. A root key leaves its ceremony in custodians' shares alone, and comes to a "
        "running zone share by share, over mutual TLS, from each custodian.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=tests("tests/journeys/test_custodians.py"),
        code=("vault_zone/cli/ceremony.py", "vault_zone/cli/unseal.py"),
        duties=(
            operator("copies the keystore, which is sealed, to each host that runs the zone with the local provider"),
        ),
    ),
    Requirement(
        number="3.7.3",
        ours="Keys are stored securely.",
        control="As under 3.6.1. A provider that does not answer makes keys unavailable, never others take their place; key "
        "files that others can read stop the start.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            "tests/vault_zone/hazmat/test_provider_contract.py",
            "tests/vault_zone/hazmat/test_local.py",
            "tests/vault_zone/test_vault.py",
        ),
        code=("vault_zone/hazmat/local.py::LocalKeys.open",),
    ),
    Requirement(
        number="3.7.4",
        ours="Each kind of key has a lifetime, and is changed at its end.",
        control="A data key seals for a year and for 2^28 uses at most, counted before they happen; then a new epoch begins by "
        "itself. Keys are rotated, and stored cards re-keyed while the zone goes on, by command. Certificates between the "
        "sides live a day.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests(
                "tests/journeys/test_killed_halfway.py",
                "test_rekeying_goes_on_after_kill_nine_and_every_card_opens_all_the_while",
            ),
            "tests/vault_zone/hazmat/test_provider_contract.py",
            *tests("tests/vault_zone/test_keyring.py"),
            *tests("tests/vault_zone/test_key_life.py"),
            *tests("tests/vault_zone/test_rekeying.py"),
        ),
        code=(
            "vault_zone/key_rows.py::KeyLimits",
            "vault_zone/rekeying.py::Rekeyer",
            "vault_zone/hazmat/pki.py::IDENTITY_HOURS",
        ),
        duties=(operator("may shorten the lifetimes, rotates the wrapping keys, and renews certificates in time"),),
    ),
    Requirement(
        number="3.7.5",
        ours="Keys that are weak, known to others or no longer used are retired, replaced or destroyed, and never seal again.",
        control="A key's state is read in the transaction that stores what it sealed: retired, it opens and seals nothing; "
        "destroyed, neither. One key is destroyed when nothing is under it; a merchant's keys are destroyed in the provider "
        "first, so that its cards do not open from the database's backups either, and the provider makes it none again.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests(
                "tests/journeys/test_killed_halfway.py",
                "test_rekeying_goes_on_after_kill_nine_and_every_card_opens_all_the_while",
            ),
            *tests(
                "tests/journeys/test_killed_halfway.py",
                "test_a_sweep_goes_on_after_kill_nine_deletes_each_card_once_and_no_live_one",
            ),
            *tests(
                "tests/journeys/test_killed_halfway.py",
                "test_a_destruction_that_died_beside_the_providers_step_is_finished_by_the_zone",
            ),
            *tests("tests/vault_zone/cli/test_ceremony.py", "test_new_shares_need_enough_present_ones_and_end_them"),
            "tests/vault_zone/hazmat/test_pkcs11_token.py",
            "tests/vault_zone/hazmat/test_provider_contract.py",
            "tests/vault_zone/hazmat/test_provider_machine.py",
            *tests(
                "tests/vault_zone/test_operations.py",
                "test_a_key_with_cards_is_destroyed_by_two_and_its_cards_alone_end",
            ),
            *tests("tests/vault_zone/test_clearing.py", "test_a_destroyed_keys_wrapped_form_leaves_the_files"),
            "tests/vault_zone/hazmat/test_vault_transit.py",
            "tests/vault_zone/hazmat/test_local.py",
            *tests("tests/vault_zone/test_keyring.py"),
            *tests("tests/vault_zone/test_key_life.py"),
            *tests("tests/vault_zone/test_rekeying.py"),
            *tests(
                "tests/vault_zone/test_retention.py",
                "test_a_retired_key_that_seals_nothing_is_destroyed_and_one_that_does_is_not",
            ),
        ),
        code=("vault_zone/key_life.py", "vault_zone/keyring.py::KeyRing.sealing_key"),
    ),
    Requirement(
        number="3.7.6",
        ours="Where people handle keys in clear, two have to act and neither knows the whole.",
        control="The root key is made in shares and shown to nobody whole: each custodian sees the own share alone, fewer than "
        "the threshold tell nothing, and a threshold of one is refused. A zone starts sealed and is opened by custodians with "
        "identities of their own, one share each. Destroying a merchant's keys, or one with cards under it, takes two.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            *tests("tests/vault_zone/cli/test_ceremony.py"),
            *tests("tests/vault_zone/test_unsealing.py"),
            *tests("tests/journeys/test_custodians.py"),
            *tests("tests/vault_zone/hazmat/test_local.py"),
            *tests("tests/vault_zone/test_operations.py"),
        ),
        code=("vault_zone/cli/ceremony.py", "vault_zone/unsealing.py", "vault_zone/hazmat/shares.py"),
        duties=(operator("gives each share to another person, and lets nobody hold two"),),
    ),
    Requirement(
        number="3.7.7",
        ours="Nobody can put another key in a key's place.",
        control="A wrapped key opens only for its merchant, purpose and key id; a replaced key or row fails to open and is "
        "never fallen back from. A keystore that a holder of the root key did not write is refused, and key files are never "
        "overwritten.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=(
            "tests/vault_zone/hazmat/test_provider_contract.py",
            "tests/vault_zone/hazmat/test_local.py",
            *tests("tests/vault_zone/test_vault.py"),
            *tests("tests/vault_zone/test_seal.py", "test_another_key_or_another_field_does_not_open"),
        ),
        code=("vault_zone/hazmat/local.py::LocalKeys.unwrap", "vault_zone/hazmat/seal.py::associated_data"),
    ),
    Requirement(
        number="3.7.8",
        ours="Custodians acknowledge their duties in writing.",
        control="The ceremony goes on only when each custodian has typed the acknowledgement, which is on record with name and "
        "time.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=tests("tests/vault_zone/cli/test_ceremony.py"),
        code=("vault_zone/cli/ceremony.py",),
        deferral="A record of a typed acknowledgement is not a signature.",
        duties=(operator("has each custodian sign as well, where its assessor asks for it"),),
    ),
    Requirement(
        number="3.7.9",
        ours="A service provider that shares keys with customers tells them how to handle them.",
        control="No key that protects card data is shared with a merchant; merchants hold an agent key, which reaches no card.",
        owner=Owner.ZONE,
        status=Status.IMPLEMENTED,
        shown_by=tests("tests/vault_zone/test_vault.py"),
        code=("commerce_api/brands.py::agent_key", "vault_zone/keyring.py::KeyRing"),
    ),
)
