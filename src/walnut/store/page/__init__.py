"""The store's pages of the console: its log and its tables.

    log.py       records: find one, follow, see what a transaction did
    tables.py    tables and their rows
    row.py       one row: edit, delete, what it was, bring that back
    said.py      what pages say of rows, records and who made them

The log's page is here and not in `walnut.log`, as that knows nothing of transactions.
"""

from typing import Final

from walnut.store.page.log import log_page
from walnut.store.page.tables import tables_page
from walnut.subsystem.model import Page

PAGES: Final = (
    Page("tables", "Tables", "table_rows", tables_page, "tables:read"),
    Page("log", "Log", "receipt_long", log_page, "log:read"),
)
