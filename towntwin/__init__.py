"""towntwin for those who only ask: `towntwin.client`."""
