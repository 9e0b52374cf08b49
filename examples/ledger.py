"""A small ledger: double entry, transfers, an audit, and taking back what was wrong.

Try: python examples/ledger.py data/ledger
"""

from __future__ import annotations

import sys
from uuid import UUID

import msgspec

import walnut


class Account(msgspec.Struct):
    """Somebody's money, in cents. `floor` is the least it may hold; None where there is no least."""

    name: str
    balance: int = 0
    floor: int | None = 0


class Entry(msgspec.Struct):
    """Cents moved from one account to another. Entries are never changed."""

    id: UUID
    debit: str
    credit: str
    cents: int
    text: str


class Refused(Exception):
    """A transfer that can't be made; nothing of it happened."""


class Ledger:
    """Every transfer is one transaction: both balances and the entry, or nothing."""

    def __init__(self, store: walnut.Store) -> None:
        self.store = store
        self.accounts = store.table("accounts", Account, key=lambda row: row.name, before=True)
        self.entries = store.table("entries", Entry, key=lambda row: row.id, before=True)
        self.by_account = self.entries.index("by_account", lambda row: [row.debit, row.credit])

    def open(self, tx: walnut.Transaction, name: str, floor: int | None = 0) -> Account:
        """A new account."""
        if self.accounts.get(tx, name) is not None:
            raise Refused(f"there is an account {name} already")
        return self.accounts.put(tx, Account(name, floor=floor))

    def transfer(
        self, tx: walnut.Transaction, debit: str, credit: str, cents: int, text: str
    ) -> Entry:
        """Move cents from one account to another."""
        if cents <= 0 or debit == credit:
            raise Refused("a transfer moves something, to somebody else")
        giver, taker = self.accounts.get(tx, debit), self.accounts.get(tx, credit)
        if giver is None or taker is None:
            raise Refused(f"there is no account {debit if giver is None else credit}")
        giver.balance -= cents
        taker.balance += cents
        if giver.floor is not None and giver.balance < giver.floor:
            raise Refused(f"{debit} has {giver.balance + cents} and can't give {cents}")
        self.accounts.put(tx, giver)
        self.accounts.put(tx, taker)
        return self.entries.put(tx, Entry(tx.new_id(), debit, credit, cents, text))

    def audit(self) -> int:
        """Check that every balance is what its entries say; returns how many entries there are. On a
        snapshot: transfers go on meanwhile."""
        with self.store.snapshot() as moment:
            sums = {account.name: 0 for account in self.accounts.scan(moment)}
            count = 0
            for entry in self.entries.scan(moment):
                sums[entry.debit] -= entry.cents
                sums[entry.credit] += entry.cents
                count += 1
            for account in self.accounts.scan(moment):
                assert account.balance == sums[account.name], f"{account.name} is off"
            assert sum(sums.values()) == 0
        return count


def main(path: str) -> None:
    """A day at the bank."""
    with walnut.Store(path) as store:
        ledger = Ledger(store)
        with store.transaction() as tx:
            for name, floor in (("cash", None), ("ann", 0), ("bob", 0)):
                ledger.open(tx, name, floor)
        teller = store.by(walnut.Meta(principal="teller-3", reason="counter"))
        teller.call(ledger.transfer, "cash", "ann", 100_00, "deposit")
        teller.call(ledger.transfer, "ann", "bob", 30_00, "rent")
        try:
            teller.call(ledger.transfer, "bob", "ann", 500_00, "too much")
        except Refused as refusal:
            print(f"refused: {refusal}")
        lunch = store.applied_lsn + 1
        teller.call(ledger.transfer, "ann", "bob", 10_00, "typed twice")
        teller.call(ledger.transfer, "ann", "bob", 10_00, "typed twice")
        print(f"audit: {ledger.audit()} entries")

        undo = store.rewind(lunch, store.applied_lsn)  # look at it, then run it
        for change in undo.changes:
            print(f"take back LSN {change.lsn}: {change.table} {change.key!r}")
        store.by(walnut.Meta("manager", "typed twice")).call(undo.apply)
        print(f"audit: {ledger.audit()} entries")
        for account in ledger.accounts.scan(store):
            print(f"{account.name:>6} {account.balance / 100:>9.2f}")
        for entry in ledger.by_account.scan(store, "bob"):
            print(f"   bob: {entry.text}, {entry.cents / 100:.2f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "data/ledger")
