"""Who may do what? Tokens and roles, the permissions of each method, TLS, the audit log, and the
files and addresses that a specification may name."""
