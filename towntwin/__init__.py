"""Client library of a towntwin gateway: `towntwin.client`."""
