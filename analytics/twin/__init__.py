"""Twin models of rivers and roads: arrays in, arrays out. No I/O, no clock, no log, no id."""
