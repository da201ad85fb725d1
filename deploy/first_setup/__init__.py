"""First set-up of a platform: `towntwin setup` gets its answers, writes the site file and enrols from it."""
