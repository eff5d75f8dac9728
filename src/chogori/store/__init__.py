"""Where everything that must not be lost is kept: one database, SQLite now.

A store does works (functions of a `Transaction`) in the order of their submission and tells when
they are safe on disk. `logs` are append-only, bound by hashes and sealed (`chain` says how), and
carry `blobs`, which can be deleted; `verify` checks them. `leases` see to it that one process
drives a log, and `inbox` takes messages to it. Rooms above bring tables of their own. Standard
library only; imports no other room.
"""

from chogori.errors import LeaseHeld, LeaseLost, StoreError
from chogori.store import blobs, inbox, leases, logs
from chogori.store.leases import Lease
from chogori.store.logs import Entry, Log, Record
from chogori.store.owners import Owner
from chogori.store.sqlite import SqliteStore, open_store
from chogori.store.store import Store, Together, Transaction, Work
from chogori.store.verdict import Verdict, verify

__all__ = [
    "Entry",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "Log",
    "Owner",
    "Record",
    "SqliteStore",
    "Store",
    "StoreError",
    "Together",
    "Transaction",
    "Verdict",
    "Work",
    "blobs",
    "inbox",
    "leases",
    "logs",
    "open_store",
    "verify",
]
