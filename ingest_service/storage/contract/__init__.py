"""Contract of the storage: the values that are stored, the store protocols, and their errors."""
