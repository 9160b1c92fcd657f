"""Marks a test as showing a PCI DSS requirement; compliance_docs checks that both sides name each other."""

import pytest


def requirement(*numbers: str) -> pytest.MarkDecorator:
    """The mark: ``@requirement("3.5.1")``, or several numbers."""
    return pytest.mark.requirement(*numbers)
