"""Requirement 11: scans, tests by outsiders, and watches over change."""

from typing import Final

from compliance_docs.model import Owner, Requirement, Status, assessor, merchant, operator, tests

REQUIREMENTS: Final = (
    Requirement(
        number="11.3.1",
        ours="Internal vulnerability scans every three months, with critical and high findings mended and scanned again.",
        control="None in software; lock files name every component to a scanner.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        code=("deploy/locks/zone.txt",),
        duties=(operator("scans, mends, scans again, keeps the reports"),),
    ),
    Requirement(
        number="11.3.1.2",
        ours="Internal scans log in, with rights enough to see.",
        control="None in software: the zone has no account that a scanner could use.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        duties=(operator("gives the scanner an account on hosts and database"),),
    ),
    Requirement(
        number="11.3.2",
        ours="External scans every three months by an approved vendor.",
        control="None in software.",
        owner=Owner.OPERATOR,
        status=Status.ASSESSOR,
        duties=(
            assessor("an approved scanning vendor scans the public listeners"),
            operator("orders it, keeps reports"),
        ),
    ),
    Requirement(
        number="11.4.5",
        ours="Segmentation is tested from outside at least once a year and after changes.",
        control="Tests hold the wall as the software and the deployment are written: imports, wheels, connections, networks.",
        owner=Owner.OPERATOR,
        status=Status.ASSESSOR,
        shown_by=(
            "tests/architecture/test_boundaries.py",
            "tests/architecture/test_deployables.py",
            "tests/architecture/test_deploy.py",
        ),
        code=("pyproject.toml", "deployables.py", "deploy/compose.yaml"),
        duties=(
            assessor("an independent tester tries every method of segmentation"),
            operator("runs negative connection tests daily as supporting evidence"),
        ),
    ),
    Requirement(
        number="11.4.6",
        ours="A service provider has its segmentation tested every six months and after changes.",
        control="As under 11.4.5.",
        owner=Owner.OPERATOR,
        status=Status.ASSESSOR,
        shown_by=("tests/architecture/test_boundaries.py",),
        code=("pyproject.toml",),
        duties=(
            assessor("tests every six months, independently"),
            operator("orders it when acting as service provider"),
        ),
    ),
    Requirement(
        number="11.5.2",
        ours="Changes of critical files are detected and alerted, compared at least weekly.",
        control="A page's static files are named by their hash; a wheel's files are fixed by its lock.",
        owner=Owner.OPERATOR,
        status=Status.CUSTOMER,
        shown_by=tests(
            "tests/vault_zone/pages/test_render.py",
            "test_static_files_are_found_by_their_hashed_name_alone",
        ),
        code=("vault_zone/pages/render.py::static_asset",),
        duties=(operator("runs file integrity monitoring over hosts, images and key files"),),
    ),
    Requirement(
        number="11.6.1",
        ours="A change of scripts or headers of the payment page, as the browser gets it, is detected and alerted.",
        control="In the tests a real browser asks for the page's two files and nothing else, refuses an altered script, and "
        "goes nowhere but to the return origin; the headers are held against what the policy must say.",
        owner=Owner.OPERATOR,
        status=Status.PARTLY,
        shown_by=(
            *tests(
                "tests/vault_zone/pages/test_browser.py",
                "test_the_page_asks_for_its_two_files_and_nothing_else",
                "test_a_script_that_was_tampered_with_does_not_run_and_the_form_still_works",
                "test_after_the_form_the_browser_goes_to_the_return_origin_and_to_no_other",
            ),
            *tests(
                "tests/vault_zone/pages/test_render.py",
                "test_the_policy_allows_nothing_but_this_site_and_the_return",
                "test_a_planted_weak_policy_is_found_by_the_same_check",
            ),
            *tests("tests/compliance_docs/test_page_scripts.py", "test_a_script_changed_after_its_approval_is_found"),
        ),
        code=("vault_zone/pages/render.py::security_headers", "compliance_docs/page_scripts.py::PAGE_SCRIPTS"),
        deferral="That is the page as built. The weekly fetch of the page as served, its comparison and the alert are not "
        "built.",
        duties=(
            operator("compares the page as served with what was approved, weekly"),
            merchant("does so for pages of its own that lead to payment"),
        ),
    ),
)
