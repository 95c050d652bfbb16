"""What a trial trains, by arithmetic on shapes: sites, units, exact counts, positions, methods as placements."""
