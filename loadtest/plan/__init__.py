"""How many instances, GPUs and hosts a demand needs: [Capacity...] + [Demand] -> [Plan], and its simulation."""
