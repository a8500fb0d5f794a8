"""Does the one task that the parent sends.

Tasks: "recording" and "salvage" read an .aedat4, "camera" and "network" are live, "discover" lists cameras.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from streams.dv_child.camera import discover, read_camera
from streams.dv_child.conversion import first_line
from streams.dv_child.network import read_network
from streams.dv_child.recording import read_recording
from streams.dv_child.salvage import salvage_recording
from streams.isolation_child import Parent, Refused

TASKS: dict[str, Callable[..., None]] = {
    "recording": read_recording,
    "salvage": salvage_recording,
    "camera": read_camera,
    "network": read_network,
    "discover": discover,
}


def main() -> None:
    """Do the one task that the parent sends, then exit without running destructors of the SDK."""
    parent = Parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        task = parent.receive() or {}
        arguments = {key: value for key, value in task.items() if key not in ("type", "task")}
        TASKS[task["task"]](parent, **arguments)
    except SystemExit:
        pass
    except Refused as error:
        parent.send("error", kind=error.kind, message=str(error))
    except ImportError as error:
        package = {"dv_processing": "dv-processing", "aedat": "aedat"}.get(error.name or "", error.name)
        advice = f"{package} is not installed: run `pip install {package}`"
        parent.send("error", kind="missing", message=advice)
    except BaseException as error:
        parent.send("error", kind="failed", message=first_line(error))
    # Waiting for the interpreter to end could wait for a thread that waits for the parent.
    os._exit(0)


if __name__ == "__main__":
    main()
