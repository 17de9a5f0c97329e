"""The service's own gunicorn settings, where every body comes through gunicorn's and Werkzeug's own readers."""

from pathlib import Path

import service.pipeline.detector
import service.protocols.exchange
from tests.service.digest_engine import DigestEngine

service.protocols.exchange.sent_body = lambda environ: None
service.pipeline.detector.load_engine = lambda settings: DigestEngine()
exec(compile(Path("service/server/gunicorn.conf.py").read_text(), "service/server/gunicorn.conf.py", "exec"))
