"""Brings notifications to people: messengers, e-mail and webhooks, within the limits of each service.

What is due is in the outbox (`ingest_service.storage.contract.notifications`). `delivery_plan` decides which
messages may be sent now, `digests` writes them, `robots`, `webhook` and `mail` send them, and `sender`
chooses among these. The periodic task is `analytics.service.send_notifications`.
"""
