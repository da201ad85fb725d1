"""HTTP middleware and protocol: header and body limits, time-outs, compression, forwarded headers."""
