"""How is an image correlated with a kernel? The work inside a convolution layer.

Strides become channels (`phases`), so that what is left has stride 1. Along the rows, each output
row needs several input rows: `row_schemes` turns that into independent slabs of memory. Along the
columns, `windows` reads a slab as matrices without copying it. What is left is matrix products
(`correlation`), over a few samples at a time.
"""

from sumgrad.layers.images.correlation.correlation import (
    Correlation,
    output_images,
    samples_at_once,
)
from sumgrad.layers.images.correlation.phases import Axis, Plane

__all__ = ["Axis", "Correlation", "Plane", "output_images", "samples_at_once"]
