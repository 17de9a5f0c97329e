"""Networks as exporters wrote them -> serving graphs."""
