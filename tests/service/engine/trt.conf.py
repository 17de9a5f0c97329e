"""The service's own gunicorn settings, on a machine with a made-up GPU."""

import os
import sys
from functools import partial
from pathlib import Path

import service.engine.trt
from service.engine.trt import TrtEngine
from tests.service.engine.trt_machine import Machine, modules

machine = Machine(Path.cwd())
machine.device.break_at = int(os.environ.get("MADE_UP_GPU_BREAKS_AT", "0"))
sys.modules.update(modules(machine))
service.engine.trt.TrtEngine = partial(TrtEngine, load_library=machine.libraries)
exec(compile(Path("service/gunicorn.conf.py").read_text(), "service/gunicorn.conf.py", "exec"))
