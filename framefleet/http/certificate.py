"""Says why a fleet's certificate was refused and what to do about it: an error of TLS -> a line."""

import ssl
from urllib.parse import urlsplit

# OpenSSL's numbers for what people run into.
EXPIRED, NOT_YET = 10, 9
OTHER_HOST, OTHER_ADDRESS = 62, 64


def refusal(url: str, error: BaseException) -> str:
    """Why no trusted connection came about, and how to get one.

    Args:
        url: that was asked.
        error: what a client raised; the error of TLS may stand among its causes or its arguments.
    """
    where = urlsplit(url).netloc
    found = _tls_error(error)
    if not isinstance(found, ssl.SSLCertVerificationError):
        reason = str(getattr(found, "reason", "") or error).replace("_", " ").lower()
        return f"{where} speaks no TLS that works here ({reason}); if it has no certificate, ask it with http://"
    reason = found.verify_message.rstrip(".")
    if found.verify_code in (EXPIRED, NOT_YET):
        fix = "renew it, or set this machine's clock"
    elif found.verify_code in (OTHER_HOST, OTHER_ADDRESS):
        fix = "ask by a name it holds, or make one that holds this (`make certificate NAME=host ADDRESS=address`)"
    else:
        fix = "give its file, or its issuer's, with --cacert or REQUESTS_CA_BUNDLE (`make certificate` names its file)"
    return f"the certificate of {where} is not trusted: {reason}; {fix}"


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """The error of TLS in a chain of errors; clients wrap it more than once."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        if isinstance(one, ssl.SSLError):
            return one
        seen.add(id(one))
        inner = [value for value in (*one.args, getattr(one, "reason", None)) if isinstance(value, BaseException)]
        waiting += [*inner, one.__cause__, one.__context__]
    return None
