"""The HTTP API: routes, request and response models, query parameters, problem documents."""
