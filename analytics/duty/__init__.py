"""Who is responsible, who is on duty, and until when: grid cells, teams, rosters, deadlines, escalation.

Pure: it computes on values of `ingest_service.storage.contract.duty`, and the caller passes the time.
"""
