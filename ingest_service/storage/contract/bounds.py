"""Bounds of what operators and technicians enter; API, commands and store have the same.

Attributes
----------
MAINTENANCE_MINUTES : 1 min to 30 d; an end that is forgotten would conceal every later fault
CALIBRATION_VALUES : no probe reads more; a drift, the difference of two over a short time, could overflow
CALIBRATION_TOLERANCES : error at which a probe is due again
CODE_DEVICES, CODE_HOURS : devices of one enrolment code, and how long it is valid
MAX_INTERVAL_S : between the readings of a series: one a month
MAX_NOTE_CHARS, MAX_NAME_CHARS : of a note, and of the name of a person or key

"""

MAINTENANCE_MINUTES = (1.0, 43_200.0)
CALIBRATION_VALUES = (-1e9, 1e9)
CALIBRATION_TOLERANCES = (1e-9, 1e9)
CODE_DEVICES = (1, 1000)
CODE_HOURS = (0.1, 24.0 * 90)
MAX_NOTE_CHARS = 2000
MAX_NAME_CHARS = 200
MAX_INTERVAL_S = 31 * 86_400.0
