"""Which machine this is."""

import functools
import socket
from pathlib import Path


@functools.cache
def machine_id() -> str:
    """Return a name that all processes of one running kernel share, and no others.

    The host name is in it because containers share the kernel but neither process ids nor, as a rule, the host name.
    """
    try:
        boot = "-" + Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return socket.gethostname() + boot
