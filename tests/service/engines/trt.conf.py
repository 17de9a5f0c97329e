"""The service's own gunicorn settings, on a machine with a made-up GPU."""

import os
import sys
from functools import partial
from pathlib import Path

import service.engines.trt.engine
from service.engines.trt.engine import TrtEngine
from tests.service.engines.trt_machine import Machine, modules

machine = Machine(Path.cwd())
machine.device.break_at = int(os.environ.get("MADE_UP_GPU_BREAKS_AT", "0"))
sys.modules.update(modules(machine))
service.engines.trt.engine.TrtEngine = partial(TrtEngine, load_library=machine.libraries)
exec(compile(Path("service/server/gunicorn.conf.py").read_text(), "service/server/gunicorn.conf.py", "exec"))
