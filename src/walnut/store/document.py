"""Documents: rows for tables that no program declared, as the command line makes them.

What must stay true: a table of documents has no index and no subjects, so that whoever can write JSON
can write it without breaking what a program keeps.
"""

from __future__ import annotations

from typing import Any

import msgspec

from walnut.store.catalog import TableInfo
from walnut.store.schema import Codec


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row that is whatever somebody put under a name."""

    key: str
    value: Any


def key_of(document: Document) -> str:
    """The key of a document's row."""
    return document.key


def holds_documents(info: TableInfo) -> bool:
    """The table is one of documents, and of nothing else."""
    digest = Codec(info.name, Document).digest()
    return info.schemas == {1: digest} and not info.indexes and not info.subjects
