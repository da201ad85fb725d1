"""The `towntwin` command line: starts and configures every process, the embedded servers and the demo towns."""
