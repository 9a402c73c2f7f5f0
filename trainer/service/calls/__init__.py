"""How is a call let in? Counted, admitted, authenticated, decoded, in this order."""
