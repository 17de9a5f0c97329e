"""The service's own gunicorn settings, where every body comes through gunicorn's and Werkzeug's own readers."""

from pathlib import Path

import service.detector
import service.routes.exchange
from tests.service.digest_engine import DigestEngine

service.routes.exchange.sent_body = lambda environ: None
service.detector.load_engine = lambda settings: DigestEngine()
exec(compile(Path("service/gunicorn.conf.py").read_text(), "service/gunicorn.conf.py", "exec"))
