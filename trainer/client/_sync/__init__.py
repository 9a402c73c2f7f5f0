"""The blocking client, generated from the one for asyncio."""
