"""The `towntwin` command: configures and starts every process, the embedded servers and the demo towns."""
