"""The judging core: arrays in, arrays out. No I/O, no clock, no log, no unit."""
