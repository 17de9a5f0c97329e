"""What can go wrong in a load test, as one tree; every message says where, what and how to fix it.

```
LoadTestError
├── VideoError    the video is missing or cannot be read
├── TargetError   nothing answers at the URL, or not what the API promises
├── RunError      the run folder or the Locust process is not as it should be
└── OptionError   an option's value makes no sense (exit code 2)
```
"""


class LoadTestError(Exception):
    """Root of the tree; `str()` is one line fit for a terminal."""


class VideoError(LoadTestError):
    """The video is missing, or OpenCV cannot read a frame of it."""


class TargetError(LoadTestError):
    """Nothing answers at the URL, or its answer is not what the API promises."""


class RunError(LoadTestError):
    """A run folder lacks a file, or the process that makes the load failed."""


class OptionError(LoadTestError):
    """An option's value makes no sense."""
