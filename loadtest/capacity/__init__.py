"""What a fleet holds: a sweep of rates -> rows -> capacity, its interval, fits -> capacity.json and a page."""
