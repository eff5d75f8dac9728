"""The formats of JSON Schema that are held, as patterns.

Each is narrower than its standard, so that whatever checks it agrees: no leap days, no leap
seconds, no quoted local parts. A format that is not here is an annotation, as the standard has it.
"""

from __future__ import annotations

_DATE = (
    r"(?:19|20)[0-9]{2}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_TIME = rf"{_CLOCK}(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,20}[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL}){{0,5}}"
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_PATH = r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]*)*"
_QUERY = r"(?:\?[A-Za-z0-9._~!$&'()*+,;=:@/-]*)?(?:#[A-Za-z0-9._~-]*)?"
_URI = rf"[A-Za-z][A-Za-z0-9+.-]{{1,12}}://{_HOST}(?::[0-9]{{1,4}})?{_PATH}{_QUERY}"
_HEX = "[0-9a-fA-F]"

FORMATS = {
    name: f"^(?:{pattern})$"
    for name, pattern in {
        "date": _DATE,
        "time": _TIME,
        "date-time": f"{_DATE}T{_TIME}",
        "duration": (
            r"P(?:[0-9]{1,3}W|[0-9]{1,3}D(?:T[0-9]{1,2}H(?:[0-9]{1,2}M)?)?"
            r"|[0-9]{1,3}Y(?:[0-9]{1,2}M)?|[0-9]{1,3}M|T[0-9]{1,4}[HMS])"
        ),
        "email": rf"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@{_LABEL}(?:\.{_LABEL}){{1,4}}",
        "hostname": _HOST,
        "ipv4": rf"(?:{_BYTE}\.){{3}}{_BYTE}",
        "ipv6": rf"(?:{_HEX}{{1,4}}:){{7}}{_HEX}{{1,4}}",
        "uuid": rf"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}",
        "uri": _URI,
        "uri-reference": rf"(?:{_URI}|/[A-Za-z0-9._~-]*{_PATH})",
        "iri": _URI,
        "json-pointer": r"(?:/[A-Za-z0-9_.-]*)*",
    }.items()
}
FORMATS["idn-email"] = FORMATS["email"]
FORMATS["idn-hostname"] = FORMATS["hostname"]
