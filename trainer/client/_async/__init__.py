"""How does an asyncio program call the service? By hand; the blocking client follows from it."""
