"""The composition root: the `towntwin` command, the embedded stack and the demo town."""
