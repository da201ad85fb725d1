"""HTTP below the API: header and body limits, time-outs, compression, forwarded headers."""
