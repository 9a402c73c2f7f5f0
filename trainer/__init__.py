"""From a specification to trained weights."""
