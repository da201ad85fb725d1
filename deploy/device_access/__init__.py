"""Access of devices to the broker: the certificate authority, and the broker's users and permissions."""
