"""How do weights follow a gradient? Pure functions over flat vectors; receipts hash them."""
