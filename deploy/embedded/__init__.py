"""A database and a broker from wheels: no root needed, nothing of the machine changed."""
