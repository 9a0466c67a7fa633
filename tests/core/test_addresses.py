"""Addresses in messages hold nothing that is secret."""

import pytest

from src.core.addresses import without_credentials


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@host.example:8443/a/b.zip?token=secret#x", "https://host.example:8443/a/b.zip"),
        ("https://me:sec/ret@host/a", "https://host/a"),
        ("https://me:s?ec#ret@host/a", "https://host/a"),
        ("postgresql://me:sec@ret@host/db", "postgresql://host/db"),
        ("https://secret@host/a@2.zip", "https://host/a@2.zip"),
        ("https://host:5000/a@2.zip", "https://host:5000/a@2.zip"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db"),
        ("source: 'https://me:secret@host/a?secret'  # ours", "source: 'https://host/a'  # ours"),
        ("cp a@b models:/digits@champion", "cp a@b models:/digits@champion"),
    ],
)
def test_secrets_in_urls_are_not_shown(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
