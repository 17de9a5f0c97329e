"""The log of an instance: one JSON line for each event that is worth one."""

import json
import sys
import time
from contextlib import suppress


def log_event(event: str, **values: object) -> None:
    """Writes one JSON line, if it can; newlines in values stay escaped, so a line is always one event."""
    line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **values}
    # Who read this may have died (supervisord), or the disk be full; no answer must fail of it.
    with suppress(OSError):
        print(json.dumps(line, ensure_ascii=True), file=sys.stderr, flush=True)
