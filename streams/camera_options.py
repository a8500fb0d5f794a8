"""What can be set on an event camera: `dv://SERIAL?contrast_on=8&contrast_off=8&roi=0,0,320,240`.

    options = parsed("exposure_us=5000&frame_rate_hz=30")       # {"exposure_us": "5000", ...}; raises InputError
    apply(camera, dv, options)                                  # in the child; raises ValueError with one sentence

The table below is checked against dv-processing's classes by a test: a model has an option when its class has the
setters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from streams.types import InputError


@dataclass(frozen=True)
class Option:
    """One setting. setters: methods of the camera that get the value, one after the other. form: what to write.
    means: for people. parse: text to the setters' argument, ValueError for anything else. models: classes that have it.
    """

    setters: tuple[str, ...]
    form: str
    means: str
    parse: Callable[[str], Any]
    models: tuple[str, ...]


def _switch(text: str) -> bool:
    return {"on": True, "off": False}[text]


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not low <= int(text) <= high:
            raise ValueError
        return int(text)
    return parse


def _area(text: str) -> tuple[int, ...]:
    area = tuple(int(part) for part in text.split(","))
    if len(area) != 4 or min(area) < 0 or min(area[2:]) == 0:
        raise ValueError
    return area


def _period(text: str) -> timedelta:
    rate_hz = float(text)
    if not 0.1 <= rate_hz <= 1000:
        raise ValueError
    return timedelta(microseconds=round(1e6 / rate_hz))


def _exposure(text: str) -> timedelta:
    return timedelta(microseconds=_whole(1, 1_000_000)(text))


DAVIS, DVXPLORER, DVXPLORER_M, DVS128 = "DAVIS", "DVXplorer", "DVXplorerM", "DVS128"
READOUTS = ("CONSTANT_100", "CONSTANT_200", "CONSTANT_500", "CONSTANT_1000", "CONSTANT_LOSSY_2000",
            "CONSTANT_LOSSY_5000", "CONSTANT_LOSSY_10000", "VARIABLE_2000", "VARIABLE_5000", "VARIABLE_10000",
            "VARIABLE_15000")


def _readout(text: str) -> str:
    return READOUTS[READOUTS.index(text.upper())]


OPTIONS: dict[str, Option] = {
    "contrast_on": Option(("setContrastThresholdOn",), "0-255", "sensitivity to brighter, low = sensitive",
                          _whole(0, 255), (DVXPLORER, DVXPLORER_M)),
    "contrast_off": Option(("setContrastThresholdOff",), "0-255", "sensitivity to darker", _whole(0, 255),
                           (DVXPLORER, DVXPLORER_M)),
    "readout": Option(("setReadoutFPS",), "|".join(READOUTS), "how often events are read out", _readout,
                      (DVXPLORER, DVXPLORER_M)),
    "global_hold": Option(("setGlobalHold",), "on|off", "hold all pixels while they are read out", _switch,
                          (DVXPLORER, DVXPLORER_M)),
    "auto_exposure": Option(("setAutoExposure",), "on|off", "of the frames", _switch, (DAVIS,)),
    "exposure_us": Option(("setExposureDuration",), "1-1000000", "of the frames; switches auto_exposure off",
                          _exposure, (DAVIS,)),
    "frame_rate_hz": Option(("setFrameInterval",), "0.1-1000", "frames per second", _period, (DAVIS,)),
    "frames": Option(("setFramesRunning",), "on|off", "whether there are frames", _switch, (DAVIS,)),
    "roi": Option(("setCropArea",), "X,Y,WIDTH,HEIGHT", "part of the sensor that gives events", _area,
                  (DAVIS, DVXPLORER, DVXPLORER_M, DVS128)),
    "triggers": Option(("setDetectorRisingEdges", "setDetectorFallingEdges", "setDetectorRunning"), "on|off",
                       "edges of SIGNAL_IN as triggers", _switch, (DAVIS, DVXPLORER)),
}
BIAS = "bias."
"""Before the name of a bias: bias.Diff=COARSE,FINE on a DAVIS, bias.DIFF=VALUE on a DVS128."""
BIAS_FORMS = {DAVIS: "bias.NAME=0-7,0-255", DVS128: "bias.NAME=0-16777215"}
_CLASSES = {"DAVIS": DAVIS, "DAVIS_GEN2": DAVIS, "DVS128": DVS128, "DVXPLORER": DVXPLORER, "DVXPLORER_S": DVXPLORER,
            "DVXPLORER_GEN2": DVXPLORER, "DVXPLORER_M": DVXPLORER_M}


def options_of(model: str) -> list[str]:
    """What a model (its name as discovered, or its class) takes, each as NAME=FORM."""
    kind = _CLASSES.get(model, model)
    return [f"{name}={option.form}" for name, option in OPTIONS.items() if kind in option.models] + (
        [BIAS_FORMS[kind]] if kind in BIAS_FORMS else [])


def parsed(query: str) -> dict[str, str]:
    """The options of a URI, checked as far as that can be done without a camera. Raises InputError."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise InputError(f"{query!r} are no options; write NAME=VALUE&NAME=VALUE") from None
    for name, text in pairs:
        _value(name, text)
    return dict(pairs)


def _value(name: str, text: str) -> Any:
    """The value of an option. Raises InputError with what is allowed."""
    if name.startswith(BIAS):
        try:
            return tuple(int(part) for part in text.split(","))
        except ValueError:
            raise InputError(f"{name}={text} is not allowed; {' or '.join(BIAS_FORMS.values())}") from None
    if name not in OPTIONS:
        raise InputError(f"{name} is no option of an event camera; there are {', '.join([*OPTIONS, 'bias.NAME'])}")
    try:
        return OPTIONS[name].parse(text)
    except (ValueError, KeyError):
        raise InputError(f"{name}={text} is not allowed; {name} is {OPTIONS[name].form}") from None


def apply(camera: Any, dv: Any, options: Mapping[str, str]) -> None:
    """Set them on an opened camera of dv-processing's. Raises ValueError, one sentence, when it does not take one."""
    kind = type(camera).__name__
    if "exposure_us" in options and "auto_exposure" not in options:
        options = {"auto_exposure": "off", **options}
    for name, text in options.items():
        value = _value(name, text)
        try:
            if name.startswith(BIAS):
                _set_bias(camera, dv, kind, name.removeprefix(BIAS), value)
                continue
            if kind not in OPTIONS[name].models:
                raise ValueError(f"a {kind} has no {name}; it takes {', '.join(options_of(kind)) or 'no options'}")
            if name == "readout":
                value = getattr(dv.io.camera.DVXplorer.ReadoutFPS, value)
            for setter in OPTIONS[name].setters:
                getattr(camera, setter)(value)
        except RuntimeError as error:
            raise ValueError(f"the camera does not take {name}={text} ({str(error).splitlines()[0]})") from None


def _set_bias(camera: Any, dv: Any, kind: str, name: str, value: tuple[int, ...]) -> None:
    limits: tuple[int, ...]
    if kind == DVS128:
        biases, setter, limits = dv.io.camera.DVS128.Bias, camera.setBias, (0xFFFFFF,)
    elif kind == DAVIS and camera.getCameraName().startswith("DAVIS240"):
        biases, setter, limits = dv.io.camera.DAVIS.Davis240BiasCF, camera.setDavis240BiasCoarseFine, (7, 255)
    elif kind == DAVIS:
        biases, setter, limits = dv.io.camera.DAVIS.Davis346BiasCF, camera.setDavis346BiasCoarseFine, (7, 255)
    else:
        raise ValueError(f"a {kind} has no biases to set; it takes {', '.join(options_of(kind)) or 'no options'}")
    if name not in biases.__members__:
        raise ValueError(f"a {kind} has no bias {name}; there are {', '.join(biases.__members__)}")
    if len(value) != len(limits) or not all(0 <= part <= most for part, most in zip(value, limits, strict=True)):
        raise ValueError(f"bias {name} is not allowed to be {','.join(map(str, value))}; {BIAS_FORMS[kind]}")
    setter(biases.__members__[name], *value)
