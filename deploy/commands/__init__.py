"""The subcommands of `towntwin`, one module each: ``add`` declares the flags, ``run`` does the work."""
