"""Prepares the secrets, certificates and broker users of a machine, for `deploy/install.sh`."""
