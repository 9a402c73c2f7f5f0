"""How are images convolved and pooled? Activations lie as (rows, height, width, channels)."""
