"""From the broker to the database: decode, resolve, judge, COPY, COMMIT, then PUBACK and receipts."""
