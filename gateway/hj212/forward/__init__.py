"""Reports sites of the platform to upper platforms by HJ 212, as a station does."""
