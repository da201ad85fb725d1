"""The subcommands of `towntwin`, one module each: ``add`` declares its flags, ``run`` does the work."""
