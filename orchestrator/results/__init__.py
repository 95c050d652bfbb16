"""What a store holds: query, status, one trial, new attempts at failed ones, modules to take away."""
