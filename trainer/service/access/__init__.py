"""Who may do what? Callers, tokens, roles, TLS, the audit log, confined paths."""
