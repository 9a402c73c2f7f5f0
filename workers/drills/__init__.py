"""How does a fault happen on purpose? It is written down before it happens."""
