"""What makes a server a platform: keys, limits, metering, the ledger, the audit log.

It implements what `api.platform` declares, in a `store` that is opened with `SCHEMA`. May import
`api`, `chat`, `store` and `errors`; speaks no HTTP.

    running         `serving`: the service at work         gate           whose key, may it come in
    administration  what people decide                     admission      what a request holds
    keys            keys as they are kept                  key_text       how a key is written
    key_ring        keys of a running server               peppers        what protects keys
    limits          values and presets                     allowances     what is left of them
    sliding_log     requests in a stretch of time          bucket         tokens in a time
    prices          what tokens cost                       ledger         where money goes
    purse           what can be spent, and holds           bills, meter   what requests took
    rules           what was decided, in memory            usage          what was used
    refusals        what is told to whom is not let in     rate_headers   how limits stand
    reasoning       what clients lose between turns        audit          who changed what
"""

from chogori.service.administration import Administration, Audited, Organisation, redacted
from chogori.service.key_text import KeyText
from chogori.service.keys import Grant, Key
from chogori.service.limits import TIERS, Limits, Subject
from chogori.service.peppers import Peppers, open_peppers
from chogori.service.prices import Price, dollars, microdollars
from chogori.service.running import Service, serving
from chogori.service.schema import SCHEMA

__all__ = [
    "SCHEMA",
    "TIERS",
    "Administration",
    "Audited",
    "Grant",
    "Key",
    "KeyText",
    "Limits",
    "Organisation",
    "Peppers",
    "Price",
    "Service",
    "Subject",
    "dollars",
    "microdollars",
    "open_peppers",
    "redacted",
    "serving",
]
