"""HTTP routes: each module is one protocol over the same detector."""
